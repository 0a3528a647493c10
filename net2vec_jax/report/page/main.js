'use strict';
/* Routes by the address's hash, the theme, and keys. */

const TITLE = document.title;
const scrolled = new Map();
let shownHash = null;

/** Which view a hash names: {view, draw, title}, or null. */
function findRoute(hash) {
  const explorer = (query) => (
    { view: 'explorer', title: 'Explorer', draw: () => drawExplorer(query) });
  if (hash === '#overview') return { view: 'overview', draw: () => {} };
  if (hash === '#filters') return { view: 'filters', title: 'Filters', draw: drawFilters };
  if (hash === '#explorer') return explorer('');
  if (hash.startsWith('#explorer=')) return explorer(decodeText(hash.slice('#explorer='.length)));
  const [, kind, digits] = /^#([a-z]+)-(\d+)$/.exec(hash) ?? [];
  const number = Number(digits);
  const concept = conceptByNumber.get(number);
  if (kind === 'explorer' && concept) return explorer(writeQuery(concept));
  if (kind === 'concept' && concept) {
    return { view: 'concept', title: concept.name, draw: () => drawConcept(concept) };
  }
  const filter = kind === 'filter' && filterByNumber.get(number);
  if (filter) {
    const title = `Filter ${filterName(number)}`;
    return { view: 'filter', title, draw: () => drawFilter(filter) };
  }
  return null;
}

function decodeText(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Show what the address names. */
function showRoute() {
  const hash = location.hash || '#overview';
  const found = findRoute(hash);
  const message = document.getElementById('message');
  message.hidden = Boolean(found);
  const asked = decodeText(hash.slice(1)).replace('-', ' ');
  if (!found) message.textContent = `This report has no ${asked}.`;
  const { view, draw, title } = found ?? findRoute('#overview');
  const isSameView = shownHash !== null
    && (findRoute(shownHash)?.view ?? 'overview') === view && view === 'explorer';
  for (const section of document.querySelectorAll('main > section')) {
    section.hidden = section.id !== `view-${view}`;
  }
  draw();
  document.title = title ? `${title} – ${TITLE}` : TITLE;
  for (const link of document.querySelectorAll('.bar nav a')) {
    const target = link.getAttribute('href').slice(1);
    const isHere = target === view || target === { filter: 'filters', concept: 'overview' }[view];
    if (isHere) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  drawCharts();
  if (shownHash !== null && !isSameView) {
    document.querySelector(`#view-${view} h1`).focus({ preventScroll: true });
    window.scrollTo(0, scrolled.get(hash) ?? 0);
  }
  shownHash = hash;
}

const themeButton = document.getElementById('theme');

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

function showTheme() {
  themeButton.setAttribute('aria-pressed', String(isDark()));
}

/** What a browser keeps for files, if it keeps anything for them. */
function storedTheme(chosen) {
  try {
    if (chosen) localStorage.setItem('net2vec-theme', chosen);
    return localStorage.getItem('net2vec-theme');
  } catch {
    return null;
  }
}

themeButton.addEventListener('click', () => {
  document.documentElement.dataset.theme = isDark() ? 'light' : 'dark';
  storedTheme(document.documentElement.dataset.theme);
  showTheme();
  drawCharts({ again: true });
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  showTheme();
  drawCharts({ again: true });
});

document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault();
  document.getElementById('main').focus();
});

document.addEventListener('keydown', (event) => {
  const parent = { concept: '#overview', filter: '#filters' };
  if (event.key !== 'Escape' || event.defaultPrevented) return;
  const shown = document.querySelector('main > section:not([hidden])').id.replace('view-', '');
  if (parent[shown]) location.hash = parent[shown];
});
window.addEventListener('scroll', () => {
  if (location.hash === shownHash || !location.hash) scrolled.set(shownHash, window.scrollY);
}, { passive: true });
window.addEventListener('hashchange', showRoute);

history.scrollRestoration = 'manual';
if (['dark', 'light'].includes(storedTheme())) {
  document.documentElement.dataset.theme = storedTheme();
}
showTheme();
drawOverview();
showRoute();
