'use strict';
/* The embedding explorer: queries on concepts, and the map of all of them. */

const ANSWERS = 12;
const MOST_COMPLETIONS = 40;
const marked = new Set(); // the words and answers of the present query

function explorerHash(query) {
  return `#explorer=${encodeURIComponent(query)}`;
}

/** Build the explorer once; then show the answer to a query, which may be empty. */
function drawExplorer(query) {
  const box = document.getElementById('explorer');
  if (!box.firstElementChild) {
    box.replaceChildren(create('div', { class: 'split' }, queryPanel(), mapPanel()));
  }
  const input = document.getElementById('query');
  if (input.value !== query) input.value = query;
  showAnswer(query);
}

function queryPanel() {
  const input = create('input', {
    id: 'query', type: 'search', list: 'completions', autocomplete: 'off', spellcheck: 'false',
    placeholder: exampleQueries()[1] ?? 'a concept', 'aria-describedby': 'query-help',
    enterkeyhint: 'search',
  });
  const completions = create('datalist', { id: 'completions' });
  const complete = () => completions.replaceChildren(...completeQuery(input.value).map((value) =>
    create('option', { value })));
  input.addEventListener('input', complete);
  input.addEventListener('focus', complete);
  const form = create('form', { class: 'query', submit: (event) => {
    event.preventDefault();
    const hash = explorerHash(input.value.trim());
    if (location.hash === hash) showAnswer(input.value.trim());
    else location.hash = hash;
  } },
  create('label', { for: 'query' }, 'Concepts'),
  create('div', { class: 'tools' }, input, completions,
    create('button', { type: 'submit', class: 'button strong' }, 'Find')));
  const examples = exampleQueries();
  return panel('Neighbours and arithmetic', form,
    create('p', { class: 'muted small', id: 'query-help' },
      'One name lists its neighbours. Names with + and − between them are added and taken away; '
      + 'put a space before a minus. The words of the query are not among its answers.'),
    create('p', { class: 'small' }, 'Try ', examples.flatMap((example, place) => [
      place ? ', ' : '', create('a', { href: explorerHash(example) }, example)]), '.'),
    create('div', { id: 'answer', 'aria-live': 'polite' }));
}

/** Queries on concepts of this run: one name, and a sum. */
function exampleQueries() {
  const ranked = report.concepts.filter(({ embedded, final }) => embedded && final !== null)
    .sort((one, other) => other.final - one.final);
  const isOf = (name) => (concept) => report.categories[concept.category].name === name;
  const things = ranked.filter(isOf('object'));
  const [first, second, third] = things.length > 2 ? things : ranked;
  const colors = ranked.filter(isOf('color'));
  const queries = first ? [writeQuery(first)] : [];
  if (first && colors.length > 1) {
    queries.push(`${writeQuery(first)} + ${writeQuery(colors[0])} - ${
      writeQuery(colors[1])}`);
  }
  if (third) {
    queries.push(`${writeQuery(first)} + ${writeQuery(second)} - ${writeQuery(third)}`);
  }
  return queries;
}

/** Whole queries that complete the last name of one. */
function completeQuery(text) {
  const last = /^(.*(?:\+|(?:^|\s)[-−])\s*)?(.*)$/s.exec(text);
  const [before, start] = [last[1] ?? '', fold(last[2])];
  const matches = report.concepts.filter(({ embedded, name }) =>
    embedded && fold(name).includes(start));
  const begins = ({ name }) => fold(name).startsWith(start);
  matches.sort((one, other) => begins(other) - begins(one));
  return matches.slice(0, MOST_COMPLETIONS).map((concept) => before + writeQuery(concept));
}

function showAnswer(query) {
  const box = document.getElementById('answer');
  marked.clear();
  showMarks();
  if (!query) {
    box.replaceChildren();
    return;
  }
  try {
    const { terms, words, answers } = answerQuery(query, ANSWERS);
    for (const concept of [...words, ...answers.map((answer) => answer.concept)]) {
      marked.add(concept);
    }
    showMarks();
    const title = create('h3', {}, terms.length > 1 ? 'Nearest to ' : 'Neighbours of ',
      words.flatMap((concept, number) => {
        const { weight } = terms[number];
        const size = Math.abs(weight) === 1 ? '' : `${Math.abs(weight)} × `;
        const sign = weight < 0 ? '− ' : (number ? '+ ' : '');
        return [`${number ? ' ' : ''}${sign}${size}`, conceptLink(concept)];
      }));
    box.replaceChildren(title, answers.length ? rankingList(answers, 'Answers')
      : create('p', { class: 'muted' }, 'No other concept has an embedding.'),
    create('p', { class: 'muted small' },
      'Cosine of a concept’s embedding with the mean of the query’s.'));
  } catch (error) {
    if (!(error instanceof QueryError)) throw error;
    box.replaceChildren(create('p', { class: 'problem' }, error.message),
      error.suggestions.length ? create('p', { class: 'small' }, 'Did you mean ',
        error.suggestions.flatMap(({ label, query: other }, place) => [
          place ? ', ' : '', create('a', { href: explorerHash(other) }, label)]), '?') : '');
  }
}

/** Draw the map again, with a query's words and answers marked. */
function showMarks() {
  const canvas = document.querySelector('#explorer canvas');
  if (canvas) Chart.getChart(canvas)?.update();
}

function mapPanel() {
  const points = report.concepts.filter(({ position }) => position[0] !== null)
    .map((concept) => ({ x: concept.position[0], y: concept.position[1], concept }));
  if (points.length < 3) return panel('Map', create('p', { class: 'muted' }, 'Too few concepts.'));
  return panel('Map',
    scatterFigure('Map of the embeddings of all concepts, by category', 480, points, {
      xTitle: report.mapAxes[0], yTitle: report.mapAxes[1], names: 40, describe: describeScores,
      isMarked: (concept) => marked.has(concept),
      priority: (concept) => Number(marked.has(concept)),
    }),
    create('p', { class: 'muted small' },
      'Concepts whose embeddings are alike lie near each other, as far as two dimensions can show '
      + 'it; a query’s words and answers are larger. Choose a point to open it, a category above '
      + 'to hide it.'));
}
