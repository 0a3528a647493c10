'use strict';
/* Images with masks laid over them; every image is in the page once. */

/**
 * A tile: the image, what is laid over it, and a caption.
 * overlay: {source, alt} or null; kind: 'image', 'truth', 'embedding' or 'filter'.
 */
function pictureTile(image, overlay, caption, kind) {
  const { images, names, ratios } = pictures();
  const frame = create('div', { class: 'frame' },
    create('img', {
      src: `data:image/webp;base64,${images[image]}`, loading: 'lazy', decoding: 'async',
      alt: overlay ? '' : `Image ${names[image]}`,
    }),
    overlay ? create('img', {
      class: 'overlay', src: `data:image/png;base64,${overlay.source}`, loading: 'lazy',
      decoding: 'async', alt: overlay.alt,
    }) : null);
  frame.style.aspectRatio = String(ratios[image]);
  return create('figure', { class: `tile ${kind}` }, frame, create('figcaption', {}, caption));
}

/** The pictures of a concept, with a switch between masks and heat maps; null if it has none. */
function conceptPictures(concept) {
  const shown = pictures()?.concepts[concept.place] ?? [];
  if (!shown.length) return null;
  const list = create('div', { class: 'picture-rows' }, shown.map((picture) =>
    pictureRow(concept, picture)));
  const button = create('button', { type: 'button', class: 'button', 'aria-pressed': 'false',
    click: () => {
      const isHeat = list.classList.toggle('heat');
      button.setAttribute('aria-pressed', String(isHeat));
    } }, 'Heat maps');
  const scale = create('span', { class: 'heat-scale', role: 'img',
    'aria-label': 'Colours of the heat map, from score 0 (dark) to 1 (bright)' });
  return panel('Images',
    create('p', { class: 'muted small' },
      'Val images at percentiles of the embedding’s IoU on an image, best first; numbers are the '
      + 'IoU of a mask with the ground truth; a filter’s is that of the paper’s rule. What a mask '
      + 'leaves out is dark. A heat map shows the '
      + 'score σ(z − level) behind the embedding’s mask, which is where it exceeds ½.'),
    create('div', { class: 'tools' }, button, create('span', { class: 'heat-legend small muted' },
      '0', scale, '1')),
    list);
}

function pictureRow(concept, picture) {
  const of = (source, what) => ({ source, alt: `${what} of ${concept.name}` });
  const embedding = pictureTile(picture.image, of(picture.embedding, 'Embedding’s mask'),
    `Embedding ${formatScore(picture.embeddingScore, 2)}`, 'embedding');
  embedding.firstElementChild.append(create('img', {
    class: 'overlay heat-overlay', src: `data:image/png;base64,${picture.heat}`, loading: 'lazy',
    decoding: 'async', alt: `Heat map of the score of ${concept.name}`,
  }));
  return create('div', { class: 'picture-row' },
    create('h3', {}, `${formatPercentile(picture.percentile)} percentile `,
      create('span', { class: 'muted' }, pictures().names[picture.image])),
    create('div', { class: 'tiles' },
      pictureTile(picture.image, null, 'Image', 'image'),
      pictureTile(picture.image, of(picture.truth, 'Ground truth'), 'Ground truth', 'truth'),
      embedding,
      pictureTile(picture.image, concept.best === null
        ? { source: picture.filter, alt: `No single filter marks ${concept.name}` }
        : of(picture.filter, 'Best filter’s mask'),
        concept.best === null ? 'No single filter'
          : `Filter ${filterName(concept.best)}: ${formatScore(picture.filterScore, 2)}`,
        'filter')));
}

function formatPercentile(value) {
  const rounded = Math.round(value);
  const tens = rounded % 100;
  const ending = tens >= 11 && tens <= 13 ? 'th'
    : ({ 1: 'st', 2: 'nd', 3: 'rd' }[rounded % 10] ?? 'th');
  return `${rounded}${ending}`;
}

/** Images to which a filter responds most; null if the page has none. */
function filterPictures(filter) {
  const shown = pictures()?.filters[filter.number] ?? [];
  if (!shown.length) return null;
  return panel('Typical images',
    create('p', { class: 'muted small' },
      'Images on which it fires, the strongest first, in even steps of rank. What lies below its '
      + 'threshold is dark.'),
    create('div', { class: 'tiles' }, shown.map(({ image, maximum, mask }) => pictureTile(image,
      { source: mask,
        alt: `Mask of filter ${filterName(filter.number)} on ${pictures().names[image]}` },
      `up to ${formatWeight(maximum)}`, 'filter'))));
}
