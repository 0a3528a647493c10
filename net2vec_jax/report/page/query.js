'use strict';
/*
 * Vector arithmetic on concepts, as net2vec_jax.analysis.geometry.concept_queries does it: the mean
 * of the signed unit embeddings, its dot product with all of them, without the query's own words. A
 * minus has a space before it or begins the query; quotes enclose a name that contains a sign; #12
 * is the concept of number 12, whose name may be one that cannot be written.
 */

const SUFFIXES = ['-c', '-s'];
const CANCELLED = 1e-6; // of vectors that are written with single or half precision

/** Something in a query that cannot be understood; suggestions are whole queries. */
class QueryError extends Error {
  constructor(message, suggestions = []) {
    super(message);
    this.suggestions = suggestions;
  }
}

/** A term: [sign] [weight *] name. Quotes that do not end reach to the end of the query. */
const TERM = new RegExp(
  String.raw`\s*(?<sign>[+\-−])?\s*(?:(?<factor>\d+\.?\d*|\.\d+)\s*[*×]\s*)?`
  + String.raw`(?<written>"[^"]*"?|'[^']*'?|[^+]*?(?=\+|(?<=\s)[-−]|$))\s*`, 'yd');

/** Terms of a query: [{weight, name, start, end}], start and end where the name stands. */
function parseQuery(text) {
  const terms = [];
  TERM.lastIndex = 0;
  while (TERM.lastIndex < text.length || !terms.length) {
    const rest = text.slice(TERM.lastIndex);
    const { groups: { sign, factor = '1', written }, indices } = TERM.exec(text);
    const [start, end] = indices.groups.written;
    const isQuoted = /^["']/.test(written);
    const name = joinSpaces(isQuoted ? written.slice(1, -1) : written);
    const weight = Number.parseFloat(factor);
    const before = text.slice(0, start).trim();
    if (terms.length && !sign) throw new QueryError(`“${rest}” needs + or − before it.`);
    if (!(weight > 0 && weight < Infinity)) {
      throw new QueryError(`The weight ${factor.slice(0, 20)} must be above 0.`);
    }
    if (isQuoted && !/^(.).*\1$/s.test(written)) {
      throw new QueryError(`The quotes of ${written} do not end.`);
    }
    if (!name) {
      throw new QueryError(before ? `A name is missing after “${before}”.`
        : 'Write, for example, a concept’s name.');
    }
    terms.push({ weight: sign && sign !== '+' ? -weight : weight, name, start, end });
  }
  return terms;
}

/** A name of plain spaces as it can stand in a query, if it has quotes of one kind at most. */
function quoteName(name) {
  const isPlain = !/\+|(^|\s)[-−]|^["']|^(\d+\.?\d*|\.\d+)\s*[*×]/.test(name);
  if (isPlain) return name;
  return name.includes('"') ? `'${name}'` : `"${name}"`;
}

/** The query that means this concept alone: its name, or its number if the name does not do. */
function writeQuery(concept) {
  const quoted = quoteName(concept.plain);
  try {
    const [term, ...others] = parseQuery(quoted);
    const found = findConcepts(term.name);
    if (!others.length && term.weight === 1 && found.length === 1 && found[0] === concept) {
      return quoted;
    }
  } catch (error) {
    if (!(error instanceof QueryError)) throw error;
  }
  return `#${concept.number}`;
}

/**
 * Concepts that a name may mean: exact, then by number, then case alike, then without Broden's
 * suffix.
 */
function findConcepts(name) {
  const wanted = name.toLowerCase();
  const exact = report.concepts.filter(({ plain }) => plain === name);
  if (exact.length) return exact;
  const numbered = /^#\d+$/.test(name) ? conceptByNumber.get(Number(name.slice(1))) : null;
  if (numbered) return [numbered];
  const alike = report.concepts.filter(({ plain }) => plain.toLowerCase() === wanted);
  if (alike.length) return alike;
  return report.concepts.filter(({ plain }) =>
    SUFFIXES.some((suffix) => plain.endsWith(suffix))
    && plain.slice(0, -2).toLowerCase() === wanted);
}

/** The concept of a term, or an error that says which names are near. */
function resolveTerm(text, term) {
  const found = findConcepts(term.name);
  if (found.length === 1) return found[0];
  const near = found.length ? found : suggestConcepts(term.name);
  const suggestions = near.map((concept) => ({
    label: concept.name,
    query: text.slice(0, term.start) + writeQuery(concept) + joint(text, term)
      + text.slice(term.end),
  }));
  if (found.length) throw new QueryError(`“${term.name}” may be one of several.`, suggestions);
  const advice = /\S[-−]/.test(term.name) ? ' Put a space before a minus.' : '';
  throw new QueryError(`There is no concept “${term.name}”.${advice}`, suggestions);
}

function joint(text, term) {
  return term.end < text.length && !/\s/.test(text.charAt(term.end)) ? ' ' : '';
}

/** Concepts whose names are near, at most six. */
function suggestConcepts(name) {
  const wanted = name.toLowerCase();
  return report.concepts
    .map((concept) => {
      const other = concept.plain.toLowerCase();
      const isPart = other.includes(wanted) || wanted.includes(other);
      return { concept, distance: editDistance(wanted, other) - (isPart ? 3 : 0) };
    })
    .filter(({ distance }) => distance <= Math.max(2, wanted.length / 2))
    .sort((one, other) => one.distance - other.distance)
    .slice(0, 6)
    .map(({ concept }) => concept);
}

/** Levenshtein's distance. */
function editDistance(one, other) {
  let row = Array.from({ length: other.length + 1 }, (_, place) => place);
  for (let i = 1; i <= one.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= other.length; j += 1) {
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1,
        row[j - 1] + (one[i - 1] === other[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[other.length];
}

/** Answer a query: {words, answers: [{concept, score}]}, score a cosine, best first. */
function answerQuery(text, count) {
  const terms = parseQuery(text);
  const words = terms.map((term) => resolveTerm(text, term));
  for (const { embedded, name } of words) {
    if (!embedded) throw new QueryError(`“${name}” has no embedding: all its weights are zero.`);
  }
  const total = terms.reduce((sum, { weight }) => sum + Math.abs(weight), 0);
  const mean = new Float64Array(report.filters);
  words.forEach((concept, number) => {
    const vector = embeddingOf(concept.place);
    const factor = terms[number].weight / total;
    for (let k = 0; k < mean.length; k += 1) mean[k] += factor * vector[k];
  });
  const squares = mean.reduce((sum, value) => sum + value * value, 0);
  if (Math.sqrt(squares) < CANCELLED) {
    throw new QueryError('The terms cancel out; there is nothing to look for.');
  }
  const answers = rankConcepts(cosinesWith(mean), (concept) => words.includes(concept), count);
  return { terms, words, answers };
}
