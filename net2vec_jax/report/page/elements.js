'use strict';
/* Small builders of elements. Texts become text nodes: nothing that data says is read as HTML. */

/** An element with attributes (functions become listeners) and children (null is left out). */
function create(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function formatScore(value, digits = 3) {
  return value === null || value === undefined ? '–' : value.toFixed(digits).replace('-', '−');
}

function formatSigned(value, digits = 3) {
  if (value === null || value === undefined) return '–';
  const text = formatScore(value, digits);
  return value > 0 ? `+${text}` : text;
}

function formatInterval(low, high) {
  return low === null || high === null ? '' : `${formatScore(low)} – ${formatScore(high)}`;
}

/** Activations and weights: four significant digits. */
function formatWeight(value) {
  if (value === null) return '–';
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e4)
    ? value.toExponential(2) : value.toPrecision(4);
  return text.replaceAll('-', '−');
}

function conceptHash(concept) {
  return `#concept-${concept.number}`;
}

function conceptLink(concept) {
  return create('a', { href: conceptHash(concept) }, concept.name);
}

/** A link to a filter, or its name where the page has no section of it. */
function filterLink(number) {
  const name = filterName(number);
  return filterByNumber.has(number)
    ? create('a', { href: `#filter-${number}`, 'aria-label': `filter ${name}` }, name)
    : name;
}

/** A category's colour and name. */
function categoryMark(place) {
  const category = report.categories[place];
  const dot = create('span', { class: 'dot', 'aria-hidden': 'true' });
  dot.style.backgroundColor = category.color;
  return create('span', { class: 'category' }, dot, category.name);
}

/** A box of the page with a heading. */
function panel(title, ...children) {
  return create('section', { class: 'panel' }, create('h2', {}, title), ...children);
}

/** The formula of concepts that overlaps best with what is marked; none where none was searched. */
function formulaPanels(found) {
  return found ? [panel('What it marks', factStrip([
    ['best formula of concepts, IoU over all val images', formatScore(found.score), found.formula],
    ['best single concept, likewise', formatScore(found.concept_score), found.concept]]))] : [];
}

/** A bar from 0 to a fraction of its box's width, with an interval on it if given. */
function scoreBar(value, low, high, kind) {
  const box = create('span', { class: `score-bar ${kind}`, 'aria-hidden': 'true' });
  const bar = create('span', { class: 'fill' });
  bar.style.width = `${100 * clampUnit(value)}%`;
  box.append(bar);
  if (low !== null && high !== null && low !== undefined) {
    const whisker = create('span', { class: 'whisker' });
    whisker.style.left = `${100 * clampUnit(low)}%`;
    whisker.style.width = `${100 * Math.max(clampUnit(high) - clampUnit(low), 0)}%`;
    box.append(whisker);
  }
  return box;
}

function clampUnit(value) {
  return Math.min(Math.max(value ?? 0, 0), 1);
}

/** Concepts with a score each: name, bar, number. */
function rankingList(ranked, label) {
  const most = Math.max(...ranked.map(({ score }) => Math.abs(score)), 1e-9);
  return create('ol', { class: 'ranking', 'aria-label': label }, ranked.map(({ concept, score }) =>
    create('li', {},
      create('span', { class: 'ranking-name' }, categoryDot(concept), conceptLink(concept)),
      scoreBar(Math.abs(score) / most, null, null, score < 0 ? 'negative' : 'plain'),
      create('span', { class: 'number' }, formatScore(score)))));
}

function categoryDot(concept) {
  const category = report.categories[concept.category];
  const dot = create('span', { class: 'dot', title: category.name });
  dot.style.backgroundColor = category.color;
  return dot;
}

/** Label and value pairs in a row. */
function factStrip(facts) {
  return create('dl', { class: 'cards' }, facts.filter(Boolean).map(([label, value, note]) =>
    create('div', { class: 'card' },
      create('dt', {}, label),
      create('dd', {}, value),
      note ? create('dd', { class: 'note' }, note) : null)));
}
