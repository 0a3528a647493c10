'use strict';
/* A table that can be sorted by its headers, searched, and filtered by category. */

/**
 * columns: [{key, title, hint, isNumber, startsHigh, isMinor, value(row), cell(row)}], minor ones
 * hidden on phones; rows: [{category, …}].
 * options: {label, noun, sortBy, descending, text(row), categories: bool}.
 */
function sortableTable(columns, rows, options) {
  const body = create('tbody');
  const count = create('p', { class: 'count muted small', role: 'status' });
  const search = create('input', {
    type: 'search', placeholder: `Search ${options.noun}`, 'aria-label': `Search ${options.noun}`,
    autocomplete: 'off', spellcheck: 'false',
  });
  const category = options.categories ? create('select', { 'aria-label': 'Category' },
    create('option', { value: '' }, 'All categories'),
    report.categories.map(({ name, concepts }, place) =>
      create('option', { value: place }, `${name} (${concepts})`))) : null;
  const entries = rows.map((row) => ({ row, element: null, text: fold(options.text(row)) }));
  const state = { column: columns.find(({ key }) => key === options.sortBy),
    isDescending: Boolean(options.descending) };

  const headers = columns.map((column) => {
    const button = create('button', { type: 'button', title: column.hint, click: () => {
      state.isDescending = state.column === column ? !state.isDescending
        : Boolean(column.isNumber || column.startsHigh);
      state.column = column;
      show();
    } },
    create('span', {}, column.title), create('span', { class: 'arrow', 'aria-hidden': 'true' }));
    return create('th', { scope: 'col', class: classOf(column) }, button);
  });

  function show() {
    headers.forEach((header, place) => {
      const isSorted = columns[place] === state.column;
      const order = state.isDescending ? 'descending' : 'ascending';
      if (isSorted) header.setAttribute('aria-sort', order);
      else header.removeAttribute('aria-sort');
    });
    const wanted = fold(search.value).split(' ').filter(Boolean);
    const shown = entries.filter(({ row, text }) => wanted.every((word) => text.includes(word))
      && (!category || category.value === '' || row.category === Number(category.value)));
    const { value } = state.column;
    shown.sort((one, other) => compareValues(value(one.row), value(other.row), state.isDescending));
    body.replaceChildren(...shown.map((entry) => {
      entry.element ??= create('tr', {}, columns.map((column, place) =>
        create(place ? 'td' : 'th', { class: classOf(column), scope: place ? null : 'row' },
          column.cell(entry.row))));
      return entry.element;
    }));
    if (!shown.length) {
      body.append(create('tr', {}, create('td', { colspan: columns.length, class: 'muted' },
        'None matches.')));
    }
    count.textContent = shown.length === rows.length ? `${rows.length} ${options.noun}`
      : `${shown.length} of ${rows.length} ${options.noun}`;
  }

  search.addEventListener('input', show);
  search.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && search.value) {
      event.stopPropagation();
      event.preventDefault();
      search.value = '';
      show();
    }
  });
  category?.addEventListener('change', show);
  show();
  return create('div', {},
    create('div', { class: 'tools' }, search, category, count),
    create('div', {
      class: 'scroll tall', tabindex: 0, role: 'region', 'aria-label': options.label,
    },
      create('table', { class: 'sortable' },
        create('caption', { class: 'hidden-text' }, `${options.label}. Headers sort.`),
        create('thead', {}, create('tr', {}, headers)),
        body)));
}

function classOf({ isNumber, isMinor }) {
  return [isNumber && 'number', isMinor && 'minor'].filter(Boolean).join(' ') || null;
}

/** Lower case without accents, spaces as one. */
function fold(text) {
  return text.normalize('NFKD').replace(/\p{Mark}/gu, '').toLowerCase().replace(/\s+/g, ' ').trim();
}

/** Order of two values; missing ones come last either way. */
function compareValues(one, other, isDescending) {
  const isMissing = (value) => value === null || value === undefined;
  if (isMissing(one) || isMissing(other)) return isMissing(one) - isMissing(other);
  const order = typeof one === 'string' ? one.localeCompare(other, 'en', { numeric: true })
    : one - other;
  return isDescending ? -order : order;
}
