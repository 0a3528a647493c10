'use strict';
/* Charts by Chart.js in the page's colours, redrawn when the theme changes. */

const liveCharts = new Set();

Chart.defaults.animation = false;
Chart.defaults.maintainAspectRatio = false;
Chart.defaults.font.family = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
Chart.defaults.plugins.legend.labels.usePointStyle = true;
Chart.defaults.plugins.legend.labels.boxHeight = 7;

/** The colour that a custom property of the style has in the present theme. */
function themeColor(name) {
  const probe = document.getElementById('main');
  const before = probe.style.color;
  probe.style.color = `var(--${name})`;
  const color = getComputedStyle(probe).color;
  probe.style.color = before;
  return color;
}

/**
 * A figure with a chart. `configure` makes Chart.js's configuration, anew for each theme;
 * `label` says what a reader who does not see it misses.
 */
function chartFigure(label, height, configure) {
  const canvas = create('canvas', { role: 'img', 'aria-label': label });
  const box = create('div', { class: 'chart' }, canvas);
  box.style.height = `${height}px`;
  const live = { canvas, configure, chart: null };
  liveCharts.add(live);
  return box;
}

/** Draw the charts whose figures are in the page by now, and forget those that have left it. */
function drawCharts({ again = false } = {}) {
  Chart.defaults.color = themeColor('muted');
  Chart.defaults.borderColor = themeColor('grid');
  for (const live of liveCharts) {
    if (!live.canvas.isConnected) {
      live.chart?.destroy();
      liveCharts.delete(live);
      continue;
    }
    if (again) {
      live.chart?.destroy();
      live.chart = null;
    }
    live.chart ??= new Chart(live.canvas, live.configure());
  }
}

function axisTitle(text) {
  return { display: true, text };
}

/** Intervals of bars: dataset.intervals is [[low, high] or null, …]. */
const intervalPlugin = {
  id: 'intervals',
  afterDatasetsDraw(chart) {
    const { ctx } = chart;
    chart.data.datasets.forEach((dataset, number) => {
      if (!dataset.intervals || !chart.isDatasetVisible(number)) return;
      const meta = chart.getDatasetMeta(number);
      ctx.save();
      ctx.strokeStyle = themeColor('text');
      ctx.lineWidth = 1.2;
      dataset.intervals.forEach((interval, place) => {
        if (!interval) return;
        const x = meta.data[place].x;
        const [low, high] = interval.map((value) => chart.scales.y.getPixelForValue(value));
        ctx.beginPath();
        ctx.moveTo(x, low);
        ctx.lineTo(x, high);
        for (const end of [low, high]) {
          ctx.moveTo(x - 3, end);
          ctx.lineTo(x + 3, end);
        }
        ctx.stroke();
      });
      ctx.restore();
    });
  },
};

/**
 * Names beside points, where there is room for them; options: {limit, priority(concept),
 * isMarked(concept)}. Names of marked points may lie over other points.
 */
const namePlugin = {
  id: 'names',
  afterDatasetsDraw(chart, _, options) {
    if (!options.limit) return;
    const { ctx, chartArea } = chart;
    const taken = [];
    ctx.save();
    ctx.font = `11px ${Chart.defaults.font.family}`;
    ctx.fillStyle = themeColor('text');
    ctx.strokeStyle = themeColor('surface');
    ctx.lineJoin = 'round';
    ctx.textBaseline = 'middle';
    const priority = options.priority ?? (() => 0);
    const points = listPoints(chart).sort((one, other) =>
      priority(other.concept) - priority(one.concept));
    for (const { element, concept } of points) {
      if (taken.length >= options.limit) break;
      const name = concept.name.length > 24 ? `${concept.name.slice(0, 23)}…` : concept.name;
      const width = ctx.measureText(name).width;
      const box = { left: element.x + 7, top: element.y - 7, right: element.x + 7 + width,
        bottom: element.y + 7 };
      const isMarked = options.isMarked?.(concept);
      const isFree = box.right < chartArea.right && taken.every((other) => box.right < other.left
        || other.right < box.left || box.bottom < other.top || other.bottom < box.top)
        && (isMarked || points.every(({ element: { x, y } }) => x < box.left || x > box.right + 4
          || y < box.top - 1 || y > box.bottom + 1));
      if (!isFree) continue;
      taken.push(box);
      if (isMarked) {
        ctx.lineWidth = 3;
        ctx.strokeText(name, box.left, element.y);
      }
      ctx.fillText(name, box.left, element.y);
    }
    ctx.restore();
  },
};

/** Visible points of a scatter chart: [{dataset, index, element, concept}]. */
function listPoints(chart) {
  return chart.data.datasets.flatMap((dataset, number) =>
    dataset.isLine || !chart.isDatasetVisible(number) ? []
      : chart.getDatasetMeta(number).data.map((element, index) => ({
        datasetIndex: number, index, element, concept: dataset.data[index].concept,
      })));
}

/**
 * A scatter of concepts by category. A click opens the concept; with the keyboard, arrows go from
 * point to point and Enter opens.
 *
 * points: [{x, y, concept}]; options: {xTitle, yTitle, diagonal,
 * start, isScore, names, describe(concept), priority(concept), isMarked(concept)}.
 */
function scatterFigure(label, height, points, options) {
  const box = chartFigure(`${label}. Arrow keys go from point to point, Enter opens.`, height, () =>
    configureScatter(points, options));
  const canvas = box.firstElementChild;
  const status = create('p', { class: 'hidden-text', 'aria-live': 'polite' });
  canvas.tabIndex = 0;
  canvas.setAttribute('role', 'application');
  let current = -1;
  canvas.addEventListener('keydown', (event) => {
    const chart = Chart.getChart(canvas);
    const shown = listPoints(chart).sort((one, other) => one.element.x - other.element.x);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!shown.length || event.ctrlKey || event.altKey || event.metaKey) return;
    if (step) {
      event.preventDefault();
      current = current < 0 ? (step > 0 ? 0 : shown.length - 1)
        : (current + step + shown.length) % shown.length;
      const { datasetIndex, index, element, concept } = shown[current];
      const active = [{ datasetIndex, index }];
      chart.setActiveElements(active);
      chart.tooltip.setActiveElements(active, { x: element.x, y: element.y });
      chart.update();
      status.textContent = describePoint(concept, chart.data.datasets[datasetIndex].data[index],
        options).join(', ');
    } else if (event.key === 'Enter' && current >= 0 && shown[current]) {
      location.hash = conceptHash(shown[current].concept);
    }
  });
  return create('div', {}, box, status);
}

function describePoint(concept, point, options) {
  return options.describe ? options.describe(concept)
    : [concept.name, `${formatScore(point.x)}, ${formatScore(point.y)}`];
}

/** Limits of an axis of scores: a little room around them, and no ticks below 0 or above 1. */
function scoreLimits(values) {
  const low = Math.min(...values);
  const high = Math.max(...values, low + 0.01);
  const room = 0.04 * (high - low);
  return { min: low - room, max: high + room, ticks: { includeBounds: false } };
}

function configureScatter(points, options) {
  const edge = themeColor('surface');
  const datasets = report.categories.map((category, place) => {
    const isLine = category.point.startsWith('cross');
    return {
      label: category.name,
      data: points.filter(({ concept }) => concept.category === place),
      pointStyle: category.point,
      backgroundColor: category.color,
      borderColor: isLine ? category.color : edge,
      pointBorderWidth: isLine ? 2 : 0.75,
      radius: ({ raw }) => (raw && options.isMarked?.(raw.concept) ? 9 : 5),
      hoverRadius: 8,
      clip: 10,
    };
  }).filter(({ data }) => data.length);
  if (options.diagonal) {
    const end = Math.min(...['x', 'y'].map((axis) =>
      Math.max(...points.map((point) => point[axis]), 0.01)));
    datasets.push({
      type: 'line', label: 'equal', isLine: true, pointRadius: 0, pointHitRadius: 0, borderWidth: 1,
      borderColor: themeColor('muted'), borderDash: [4, 4], pointStyle: 'line',
      data: [{ x: options.start ?? 0, y: options.start ?? 0 }, { x: end, y: end }],
    });
  }
  const axis = (key, title) => ({ title: axisTitle(title), ...(options.isScore
    ? scoreLimits(points.map((point) => point[key])) : { grace: '4%' }) });
  return {
    type: 'scatter',
    data: { datasets },
    options: {
      scales: { x: axis('x', options.xTitle), y: axis('y', options.yTitle) },
      interaction: { mode: 'nearest', intersect: true },
      plugins: {
        names: { limit: options.names ?? 0, priority: options.priority,
          isMarked: options.isMarked },
        tooltip: {
          filter: (item) => !item.dataset.isLine,
          callbacks: {
            label: ({ raw }) => describePoint(raw.concept, raw, options),
          },
        },
      },
      onClick(event, active, chart) {
        const [first] = active;
        const concept = first && chart.data.datasets[first.datasetIndex].data[first.index].concept;
        if (concept) location.hash = conceptHash(concept);
      },
      onHover(event, active) {
        event.native.target.style.cursor = active.length ? 'pointer' : '';
      },
    },
    plugins: [namePlugin],
  };
}
