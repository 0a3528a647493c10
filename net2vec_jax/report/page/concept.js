'use strict';
/* The section of a concept, built when it is opened. */

const NEIGHBOURS = 10;
const weightName = report.unitWeights ? 'weight (unit embedding)' : 'weight';

function drawConcept(concept) {
  const sorted = [...report.concepts].sort((one, other) => one.number - other.number);
  const here = sorted.indexOf(concept);
  const before = sorted[here - 1];
  const after = sorted[here + 1];
  const view = document.getElementById('view-concept');
  view.replaceChildren(
    create('nav', { class: 'pager', 'aria-label': 'Concepts' },
      create('a', { href: '#overview' }, 'All concepts'),
      before ? create('a', { href: conceptHash(before), rel: 'prev' }, `← ${before.name}`) : null,
      after ? create('a', { href: conceptHash(after), rel: 'next' }, `${after.name} →`) : null),
    create('p', { class: 'eyebrow' }, categoryMark(concept.category),
      ` · concept ${concept.number}`),
    create('h1', { tabindex: -1 }, concept.name),
    factStrip([
      [`embedding, ${report.score} on val`, formatScore(concept.final),
        concept.finalLow === null ? null
          : `95 %: ${formatInterval(concept.finalLow, concept.finalHigh)}`],
      concept.single === null ? null : [`${singleName}, ${report.score} on val`,
        formatScore(concept.single), concept.best === null ? noFilterReason
          : create('span', {}, 'filter ', filterLink(concept.best))],
      measureFact(concept, 'single_same_rule_val_iou', `${singleName}, same rule`),
      concept.gain === null ? null : ['gain', formatSigned(concept.gain),
        sameRule(concept) === null ? 'embedding less filter'
          : `${formatSigned(concept.final - sameRule(concept))} under the same rule`],
      ['images', (concept.train + concept.val).toLocaleString('en'),
        `${concept.train} train, ${concept.val} val`],
    ]),
    sameRule(concept) === null ? null : panel('Compared with', factStrip([
      measureFact(concept, 'prior_val_iou', 'location prior'),
      measureFact(concept, 'control_val_iou', 'embedding of exchanged masks'),
      measureFact(concept, 'untrained_val_iou', 'embedding of the untrained network'),
      measureFact(concept, 'everything_val_iou', 'everything marked'),
      measureFact(concept, 'val_iou_all_images', 'embedding, IoU over all val images'),
      measureFact(concept, 'val_average_precision',
        'embedding, average precision over all val images'),
    ])),
    ...formulaPanels(concept.formula),
    create('div', { class: 'columns' },
      report.sizes.length > 1 ? curvePanel(concept) : null, filterPanel(concept),
      neighbourPanel(concept)));
  const shown = conceptPictures(concept);
  if (shown) view.append(shown);
  if (report.sizes.length < 2) {
    view.append(create('p', { class: 'muted small' },
      'This run has embeddings over all filters only. The probe with, for example, ',
      create('code', {}, '--filters 1 2 5 10 20 40'), ' shows here how many a concept needs.'));
  }
}

/** Label, score and interval of a measure; for the best filter its number; null if it has none. */
function measureFact(concept, name, label) {
  if (measure(concept, name) === null) return null;
  const filter = name.startsWith('single') ? measure(concept, 'single_same_rule_filter') : null;
  const low = measure(concept, `${name}_low`);
  return [label, formatScore(measure(concept, name)), create('span', {},
    low === null ? '' : `95 %: ${formatInterval(low, measure(concept, `${name}_high`))}`,
    ...(filter === null ? [] : [', filter ', filterLink(filter)]))];
}

function curvePanel(concept) {
  const criteria = concept.sufficient.map((filters, place) => {
    const number = filters === report.filters ? `all ${filters}` : filters;
    return `${number} reach ${Math.round(100 * report.fractions[place])} %`;
  });
  const isLearnt = concept.final !== null && concept.final > report.chance;
  return panel('How many filters',
    chartFigure(`${report.score} against the number of filters; the table below has the numbers`,
      260, () => configureCurve(concept)),
    create('p', { class: 'muted small' }, isLearnt
      ? `Filters of largest weight, retrained: ${criteria.join(', ')} of the full score${
        report.chance ? ' above chance' : ''}. The band is the 95 % interval.`
      : 'The embedding over all filters is no better than chance, so no number of them is enough.'),
    create('details', {}, create('summary', {}, 'Numbers'),
      create('table', {},
        create('thead', {}, create('tr', {}, ['filters', report.score, '95 % interval'].map(
          (title) => create('th', { scope: 'col', class: 'number' }, title)))),
        create('tbody', {}, report.sizes.map((size, place) => create('tr', {},
          create('th', { scope: 'row', class: 'number' }, String(size)),
          create('td', { class: 'number' }, formatScore(concept.score[place])),
          create('td', { class: 'number' },
            formatInterval(concept.low[place], concept.high[place]))))))));
}

function configureCurve(concept) {
  const series = (values) => report.sizes.map((x, place) => ({ x, y: values[place] }));
  const color = themeColor('embedding');
  const sizes = [report.sizes[0], report.sizes[report.sizes.length - 1]];
  const isLearnt = concept.final !== null && concept.final > report.chance;
  const dashes = [[2, 3], [6, 4], [9, 3]];
  const levels = isLearnt ? report.fractions.map((fraction, place) => ({
    label: `${Math.round(100 * fraction)} % of full`,
    data: sizes.map((x) => ({
      x, y: report.chance + fraction * (concept.final - report.chance),
    })),
    borderColor: themeColor('muted'), borderDash: dashes[place % dashes.length], borderWidth: 1,
    pointRadius: 0, pointHitRadius: 0, pointStyle: 'line',
  })) : [];
  const band = { borderWidth: 0, pointRadius: 0, pointHitRadius: 0, isBand: true };
  const sufficient = new Set(isLearnt ? concept.sufficient : []);
  return {
    type: 'line',
    data: { datasets: [
      { label: 'embedding', data: series(concept.score), borderColor: color, backgroundColor: color,
        borderWidth: 2, pointStyle: 'rect', clip: 10,
        pointRadius: report.sizes.map((size) => (sufficient.has(size) ? 6 : 3.5)) },
      { ...band, data: series(concept.high), fill: '+1', backgroundColor: themeColor('band') },
      { ...band, data: series(concept.low) },
      ...levels,
    ] },
    options: {
      scales: {
        x: { type: 'logarithmic', title: axisTitle('filters'), min: sizes[0], max: sizes[1],
          afterBuildTicks(axis) { axis.ticks = chooseTicks().map((value) => ({ value })); },
          ticks: { callback: (value) => String(value), autoSkip: false, maxRotation: 0 } },
        y: { title: axisTitle(`${report.score} on val`),
          ...(report.chance ? { suggestedMin: report.chance } : { min: 0 }) },
      },
      plugins: {
        legend: { labels: { filter: (item, data) => !data.datasets[item.datasetIndex].isBand } },
        tooltip: { mode: 'nearest', filter: (item) => item.datasetIndex === 0, callbacks: {
          title: ([item]) => (item ? `${item.raw.x} filters` : ''),
          label: ({ dataIndex }) => [formatScore(concept.score[dataIndex]),
            formatInterval(concept.low[dataIndex], concept.high[dataIndex])],
        } },
      },
    },
  };
}

/** Numbers of filters that have room beside each other on a logarithmic axis, all of them first. */
function chooseTicks() {
  const least = Math.max((report.sizes[report.sizes.length - 1] / report.sizes[0]) ** 0.09, 1.4);
  const ticks = [];
  for (const size of [...report.sizes].reverse()) {
    if (!ticks.length || ticks[ticks.length - 1] / size >= least) ticks.push(size);
  }
  return ticks.reverse();
}

function filterPanel(concept) {
  if (!concept.top.length) {
    return panel('Filters of largest weight', create('p', { class: 'muted' },
      'All weights of this concept are zero.'));
  }
  return panel('Filters of largest weight',
    chartFigure('Weights of the ten filters of largest weight; the list below has the numbers', 260,
      () => configureWeights(concept)),
    report.unitWeights ? create('p', { class: 'muted small' },
      'Of the mean direction over the seeds, which has length 1.') : null,
    create('ul', { class: 'chips', 'aria-label': 'Filters of largest weight' },
      concept.top.map(([filter, weight]) => create('li', {},
        filterLink(filter), create('span', { class: 'muted' }, ` ${formatWeight(weight)}`)))));
}

function configureWeights(concept) {
  const single = themeColor('single');
  const embedding = themeColor('embedding');
  return {
    type: 'bar',
    data: {
      labels: concept.top.map(([filter]) => filterName(filter)),
      datasets: [{
        label: 'weight', data: concept.top.map(([, weight]) => weight), borderRadius: 2,
        backgroundColor: concept.top.map(([, weight]) => (weight < 0 ? single : embedding)),
      }],
    },
    options: {
      indexAxis: 'y',
      scales: { x: { title: axisTitle(weightName) }, y: { title: axisTitle('filter'),
        grid: { display: false }, ticks: { autoSkip: false } } },
      plugins: { legend: { display: false }, tooltip: { callbacks: {
        title: ([item]) => `filter ${item.label}`, label: ({ raw }) => formatWeight(raw),
      } } },
      onClick(event, [first]) {
        if (first) location.hash = `#filter-${concept.top[first.index][0]}`;
      },
      onHover(event, active) {
        event.native.target.style.cursor = active.length ? 'pointer' : '';
      },
    },
  };
}

function neighbourPanel(concept) {
  if (!concept.embedded) {
    return panel('Nearest concepts', create('p', { class: 'muted' },
      'It has no embedding: all its weights are zero.'));
  }
  const nearest = rankConcepts(cosinesWith(embeddingOf(concept.place)),
    (other) => other === concept, NEIGHBOURS);
  return panel('Nearest concepts',
    create('p', { class: 'muted small' }, 'Cosine of the embeddings.'),
    rankingList(nearest, 'Nearest concepts'),
    create('p', { class: 'small' },
      create('a', { href: `#explorer-${concept.number}` }, 'Open in the explorer')));
}
