'use strict';
/* The overview: means by category, one filter against several, the table of concepts. */

const singleName = report.probe === 'segmentation' ? 'best single filter' : 'top filter alone';
const singleTitle = report.probe === 'segmentation' ? 'Best single filter' : 'Top filter';
const noFilterReason = report.probe === 'segmentation'
  ? 'no filter overlaps it on train' : 'no one filter is the top one of all seeds';

/** The best filter of a concept, or a dash that says why there is none. */
function bestFilterLink({ best }) {
  return best === null ? create('span', { title: noFilterReason }, '–') : filterLink(best);
}

function drawOverview() {
  const hasSingle = report.concepts.some(({ single }) => single !== null);
  document.getElementById('category-chart').replaceChildren(chartFigure(
    `Mean ${report.score} on val by category; the table below has the numbers`, 250,
    () => configureCategories(hasSingle)));
  document.getElementById('score-chart').replaceChildren(hasSingle
    ? againstSingle(singleName, ({ single }) => single)
    : scatterFigure(`${report.score} of the embedding against the number of train images`, 470,
      report.concepts.filter(({ final }) => final !== null)
        .map((concept) => ({ x: concept.train, y: concept.final, concept })),
      { xTitle: 'train images', yTitle: `embedding, ${report.score} on val`, names: 24,
        describe: describeScores, priority: ({ final }) => final }));
  document.getElementById('same-rule-chart')?.replaceChildren(
    againstSingle(`${singleName}, same rule`, sameRule));
  document.getElementById('concept-table').replaceChildren(conceptTable(hasSingle));
}

/** Scatter of embeddings against single filters; single gives a concept's score, or null. */
function againstSingle(name, single) {
  const gain = (concept) => concept.final - single(concept);
  return scatterFigure(`${report.score} of the embedding against the ${name}`, 470,
    report.concepts.filter((concept) => concept.final !== null && single(concept) !== null)
      .map((concept) => ({ x: single(concept), y: concept.final, concept })),
    { xTitle: `${name}, ${report.score} on val`,
      yTitle: `embedding, ${report.score} on val`, diagonal: true, start: report.chance,
      isScore: true, names: 24, describe: describeScores,
      priority: (concept) => (isWholeImage(concept.category) ? -1 : gain(concept)) });
}

/** Whether a category's masks are whole images, so that IoU is no skill in segmentation. */
function isWholeImage(category) {
  return report.probe === 'segmentation' && report.categories[category].wholeImage;
}

function describeScores(concept) {
  return [`${concept.name} (${report.categories[concept.category].name})`,
    concept.single === null ? null : `${singleName} ${formatScore(concept.single)}`,
    sameRule(concept) === null ? null : `under the same rule ${formatScore(sameRule(concept))}`,
    `embedding ${formatScore(concept.final)}`].filter(Boolean);
}

function configureCategories(hasSingle) {
  const interval = (pair) => (pair[0] === null || pair[1] === null ? null
    : [pair[0] - 1.96 * pair[1], pair[0] + 1.96 * pair[1]]);
  const dataset = (label, key, color) => ({
    label,
    data: report.categories.map((category) => category[key][0]),
    intervals: report.categories.map((category) => interval(category[key])),
    backgroundColor: themeColor(color),
    borderRadius: 2,
    maxBarThickness: 34,
    categoryPercentage: 0.7,
  });
  const datasets = [
    ...(hasSingle ? [dataset(singleName, 'single', 'single')] : []),
    dataset('embedding', 'embedding', 'embedding'),
  ];
  const ends = datasets.flatMap(({ intervals }) => intervals.filter(Boolean).map(([, end]) => end));
  return {
    type: 'bar',
    data: {
      labels: report.categories.map(({ name }, place) =>
        (isWholeImage(place) ? `${name} *` : name)),
      datasets,
    },
    options: {
      scales: {
        x: { grid: { display: false } },
        y: { title: axisTitle(`mean ${report.score}`), beginAtZero: true,
          suggestedMax: Math.max(...ends, 0) },
      },
      plugins: { tooltip: { callbacks: {
        label: ({ dataset: { label }, raw }) => `${label} ${formatScore(raw)}`,
      } } },
    },
    plugins: [intervalPlugin],
  };
}

function conceptTable(hasSingle) {
  const number = (key, title, hint) => ({ key, title, hint, isNumber: true, isMinor: true,
    value: (row) => row[key], cell: (row) => String(row[key]) });
  const hasBest = report.concepts.some(({ best }) => best !== null);
  const columns = [
    { key: 'name', title: 'Concept', value: (row) => row.name, cell: conceptLink },
    { key: 'category', title: 'Category', isMinor: true,
      value: (row) => report.categories[row.category].name,
      cell: (row) => categoryMark(row.category) },
    number('train', 'Train', 'train images with the concept'),
    number('val', 'Val', 'val images with the concept'),
    ...(hasBest ? [{ key: 'best', title: 'Filter', isNumber: true, isMinor: true,
      hint: singleName, value: (row) => row.best, cell: (row) => bestFilterLink(row) }] : []),
    ...(hasSingle ? [{ key: 'single', title: `Filter ${report.score}`, isNumber: true,
      hint: `${report.score} of the ${singleName} on val`, value: (row) => row.single,
      cell: (row) => formatScore(row.single) }] : []),
    ...(report.concepts.some((row) => sameRule(row) !== null) ? [{ key: 'sameRule',
      title: 'Same rule', isNumber: true, isMinor: true,
      hint: `${report.score} of the ${singleName} under the embedding’s rule`, value: sameRule,
      cell: (row) => formatScore(sameRule(row)) }] : []),
    { key: 'final', title: `Embedding ${report.score}`, isNumber: true,
      hint: `${report.score} of the embedding on val`, value: (row) => row.final,
      cell: (row) => [scoreBar(row.final, row.finalLow, row.finalHigh, 'embedding'),
        formatScore(row.final)] },
    { key: 'interval', title: '95 % interval', isNumber: true, hint: 'sorts by its width',
      value: (row) => (row.finalLow === null || row.finalHigh === null ? null
        : row.finalHigh - row.finalLow),
      cell: (row) => formatInterval(row.finalLow, row.finalHigh) },
    ...(hasSingle ? [{ key: 'gain', title: 'Gain', isNumber: true,
      hint: 'embedding less filter', value: (row) => row.gain,
      cell: (row) => formatSigned(row.gain) }] : []),
  ];
  return sortableTable(columns, report.concepts, {
    label: 'Concepts and their scores', noun: 'concepts', sortBy: 'final', descending: true,
    text: (row) => `${row.name} ${report.categories[row.category].name}`, categories: true,
  });
}
