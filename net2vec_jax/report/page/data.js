'use strict';
/* What the page was made with: the run at once, pictures and embeddings when first asked for. */

const report = JSON.parse(document.getElementById('run-data').textContent);

report.concepts.forEach((concept, place) => {
  concept.place = place;
  concept.plain = joinSpaces(concept.name);
  concept.final = concept.score[concept.score.length - 1];
  concept.finalLow = concept.low[concept.low.length - 1];
  concept.finalHigh = concept.high[concept.high.length - 1];
  concept.gain = concept.single === null || concept.final === null
    ? null : concept.final - concept.single;
});

/** A further score of a concept, a column of segmentation.csv; null if it has none. */
function measure(concept, name) {
  return concept.measures[name] ?? null;
}

/** Score of the best single filter under the embedding's own rule. */
function sameRule(concept) {
  return measure(concept, 'single_same_rule_val_iou');
}

const conceptByNumber = new Map(report.concepts.map((concept) => [concept.number, concept]));
/** What tables call a filter: its number, or with a sign where some respond negatively. */
function filterName(number) {
  return report.filterNames[number] ?? String(number);
}

const filterByNumber = new Map(report.serving.map((filter) => [filter.number, filter]));

/** A name as it can be typed: runs of white space, line breaks too, as one space. */
function joinSpaces(text) {
  return text.replace(/\s+/g, ' ').trim();
}

let loadedPictures;
let loadedEmbeddings;

/** Images and masks, or null if the page has none. */
function pictures() {
  if (loadedPictures === undefined) {
    loadedPictures = JSON.parse(document.getElementById('picture-data').textContent);
  }
  return loadedPictures;
}

/** Unit embeddings of all concepts, row after row, Float32Array of concepts × filters. */
function embeddings() {
  if (loadedEmbeddings === undefined) {
    const text = document.getElementById('embedding-data').textContent;
    loadedEmbeddings = decodeFloats(text, report.floats);
  }
  return loadedEmbeddings;
}

/** Little-endian numbers in base64 as a Float32Array; kind is 'float32' or 'float16'. */
function decodeFloats(text, kind) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let place = 0; place < bytes.length; place += 1) {
    bytes[place] = characters.charCodeAt(place);
  }
  const view = new DataView(bytes.buffer);
  const size = kind === 'float16' ? 2 : 4;
  const values = new Float32Array(bytes.length / size);
  for (let place = 0; place < values.length; place += 1) {
    values[place] = size === 4
      ? view.getFloat32(4 * place, true) : decodeHalf(view.getUint16(2 * place, true));
  }
  return values;
}

/** A finite number of half precision from its 16 bits. */
function decodeHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  return exponent === 0
    ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Cosine of every concept with a vector of any length; null for a concept without embedding. */
function cosinesWith(vector) {
  const rows = embeddings();
  const filters = report.filters;
  let squares = 0;
  for (const value of vector) squares += value * value;
  const length = Math.sqrt(squares);
  return report.concepts.map((concept, place) => {
    if (!concept.embedded || !length) return null;
    let product = 0;
    for (let k = 0; k < filters; k += 1) product += rows[place * filters + k] * vector[k];
    return product / length;
  });
}

/** The unit embedding of the concept at a place. */
function embeddingOf(place) {
  return embeddings().subarray(place * report.filters, (place + 1) * report.filters);
}

/** Concepts by falling score, ties in their order: [{concept, score}], at most count. */
function rankConcepts(scores, isExcluded, count) {
  return report.concepts
    .map((concept, place) => ({ concept, score: scores[place] }))
    .filter(({ concept, score }) => score !== null && !isExcluded(concept))
    .sort((one, other) => other.score - one.score)
    .slice(0, count);
}
