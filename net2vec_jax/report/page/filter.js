'use strict';
/* The list of filters that serve a concept, and the section of one of them. */

function drawFilters() {
  const box = document.getElementById('filter-table');
  if (box.firstElementChild) return;
  const names = (places) => places.slice(0, 6).flatMap((place, number) =>
    [number ? ', ' : '', conceptLink(report.concepts[place])])
    .concat(places.length > 6 ? `, and ${places.length - 6} more` : '');
  const hasThreshold = report.serving.some(({ threshold }) => threshold !== null);
  const columns = [
    { key: 'number', title: 'Filter', isNumber: false, value: (row) => row.number,
      cell: (row) => filterLink(row.number) },
    ...(hasThreshold ? [{ key: 'threshold', title: 'Threshold', isNumber: true, isMinor: true,
      value: (row) => row.threshold, cell: (row) => formatWeight(row.threshold) }] : []),
    { key: 'best', title: `${singleTitle} of`, hint: 'sorts by the number of concepts',
      startsHigh: true, value: (row) => row.bestFor.length,
      cell: (row) => [create('span', { class: 'tally muted' }, String(row.bestFor.length)),
        ...names(row.bestFor)] },
    { key: 'weight', title: 'Largest weight', isNumber: true,
      hint: report.unitWeights ? 'of unit embeddings' : null,
      value: (row) => (row.weights.length ? Math.abs(row.weights[0][1]) : null),
      cell: (row) => formatWeight(row.weights[0]?.[1] ?? null) },
    { key: 'of', title: 'In the embedding of',
      value: (row) => report.concepts[row.weights[0]?.[0]]?.name ?? null,
      cell: (row) => (row.weights.length ? conceptLink(report.concepts[row.weights[0][0]]) : '–') },
  ];
  box.replaceChildren(sortableTable(columns, report.serving, {
    label: 'Filters that serve concepts', noun: 'filters', sortBy: 'best', descending: true,
    text: (row) => [filterName(row.number),
      ...row.bestFor.map((place) => report.concepts[place].name),
      report.concepts[row.weights[0]?.[0]]?.name ?? ''].join(' '),
    categories: false,
  }));
}

function drawFilter(filter) {
  const sorted = [...report.serving].sort((one, other) => one.number - other.number);
  const here = sorted.indexOf(filter);
  const link = (other, text, rel) => (other
    ? create('a', { href: `#filter-${other.number}`, rel }, text(filterName(other.number))) : null);
  const view = document.getElementById('view-filter');
  view.replaceChildren(
    create('nav', { class: 'pager', 'aria-label': 'Filters' },
      create('a', { href: '#filters' }, 'All filters'),
      link(sorted[here - 1], (number) => `← ${number}`, 'prev'),
      link(sorted[here + 1], (number) => `${number} →`, 'next')),
    create('p', { class: 'eyebrow' }, `${report.network}/${report.layer}`),
    create('h1', { tabindex: -1 }, `Filter ${filterName(filter.number)}`),
    factStrip([
      filter.threshold === null ? null : ['threshold', formatWeight(filter.threshold)],
      [`${singleName} of`, String(filter.bestFor.length),
        filter.bestFor.length === 1 ? 'concept' : 'concepts'],
    ]),
    ...formulaPanels(filter.formula),
    create('div', { class: 'columns' },
      panel(`${singleTitle} of`,
        filter.bestFor.length
          ? rankingList(filter.bestFor.map((place) => ({ concept: report.concepts[place],
            score: report.concepts[place].single })), `Concepts, ${report.score} on val`)
          : create('p', { class: 'muted' }, 'No concept; it serves in embeddings.')),
      filter.scores.length ? panel(`Greatest ${report.score}`,
        create('p', { class: 'muted small' }, `${report.score} on val of this filter alone.`),
        rankingList(filter.scores.map(([place, score]) => ({ concept: report.concepts[place],
          score })), `Concepts by ${report.score} of this filter`)) : null,
      panel('Largest weights',
        create('p', { class: 'muted small' }, report.unitWeights
          ? 'Its weight in the unit embeddings of concepts, means over the seeds.'
          : 'Its weight in the embeddings of concepts.'),
        weightList(filter.weights))));
  const shown = filterPictures(filter);
  if (shown) view.append(shown);
}

function weightList(weights) {
  const list = rankingList(weights.map(([place, score]) => ({ concept: report.concepts[place],
    score })), 'Concepts by weight');
  list.querySelectorAll('.number').forEach((element, place) => {
    element.textContent = formatWeight(weights[place][1]);
  });
  return list;
}
