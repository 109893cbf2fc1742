"use strict";
// The plots: the same numbers as those on disk, drawn with Chart.js on every change of a control or of the theme.
(function () {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent).series;
  const SHAPES = ["circle", "rect", "triangle", "rectRot"];
  const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
  const WORST = "worst case", CLEAN = "clean", EVERY = "";
  const FIRST = 0.8; // a logarithmic axis has no 0: there the clean accuracy holds up to the first pass
  const points = data.points.map(([ball, row, series, status, value, low, high]) => ({ ball, row, series, status, value, low, high }));
  const known = points.filter((point) => point.value !== null);
  const made = {};
  const count = data.images.toLocaleString("en");

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const chosen = () => Array.from(document.querySelectorAll("#legend input:checked")).map((box) => Number(box.dataset.row));
  const percent = (value) => value.toFixed(1);
  const titled = (norm) => `${norm.charAt(0).toUpperCase()}${norm.slice(1)}`;
  const many = (passes) => `${passes.toLocaleString("en", { maximumFractionDigits: 0 })} pass${passes === 1 ? "" : "es"}`;
  function number(point) {
    if (point.status === "bound") return `≤ ${percent(point.value)} % (a bound), n = ${count}`;
    const ends = point.low === null ? "" : ` (${percent(point.low)}–${percent(point.high)})`;
    return `${percent(point.value)} %${ends}, n = ${count}`;
  }
  function look(row) {
    const shade = colour(`c${row % 8}`);
    return {
      label: data.rows[row].label, row, borderColor: shade, borderWidth: 1.6, pointBorderWidth: 1.6, pointBorderColor: shade,
      pointRadius: 4.5, pointHoverRadius: 6, pointStyle: SHAPES[(row + Math.floor(row / 8)) % 4],
      pointBackgroundColor: (context) => (context.raw && context.raw.bound ? colour("paper") : shade), backgroundColor: shade,
    };
  }
  const whiskers = {
    id: "whiskers",
    beforeDatasetsDraw(chart) {
      const { ctx, scales } = chart;
      chart.getSortedVisibleDatasetMetas().forEach((meta) => {
        ctx.save();
        ctx.strokeStyle = meta._dataset.borderColor;
        ctx.lineWidth = 1;
        meta.data.forEach((mark, at) => {
          const raw = meta._dataset.data[at];
          const whisker = (x0, y0, x1, y1) => { ctx.beginPath(); ctx.moveTo(x0, y0); ctx.lineTo(x1, y1); ctx.stroke(); };
          if (Number.isFinite(raw.low)) whisker(mark.x, scales.y.getPixelForValue(raw.low), mark.x, scales.y.getPixelForValue(raw.high));
          if (Number.isFinite(raw.left)) whisker(scales.x.getPixelForValue(raw.left), mark.y, scales.x.getPixelForValue(raw.right), mark.y);
        });
        ctx.restore();
      });
    },
  };
  function axis(title, more) {
    const ink = colour("quiet");
    return {
      type: "linear", grid: { color: colour("rule"), lineWidth: 0.6 }, border: { color: colour("strong") },
      title: { display: true, text: title, color: ink }, ticks: { color: ink, ...(more && more.ticks) }, ...(more && more.rest),
    };
  }
  const shares = (title) => axis(title, { rest: { min: -2, max: 102 }, ticks: { stepSize: 20, callback: (value) => (value >= 0 && value <= 100 ? value : "") } });
  function evenly(axisOptions) {
    return { ...axisOptions, afterBuildTicks: (scale) => { scale.ticks = [0, 20, 40, 60, 80, 100].map((value) => ({ value })); } };
  }
  function draw(id, datasets, scales) {
    const canvas = byId(id);
    if (made[id]) made[id].destroy();
    made[id] = new Chart(canvas, {
      type: "scatter",
      data: { datasets },
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, scales, interaction: { mode: "nearest", intersect: true },
        plugins: {
          legend: { display: false },
          tooltip: {
            displayColors: false, backgroundColor: colour("ink"), titleColor: colour("paper"), bodyColor: colour("paper"), cornerRadius: 3,
            callbacks: {
              title: (items) => (items.length ? items[0].dataset.label : ""),
              label: (item) => item.raw.told,
            },
          },
        },
      },
      plugins: [whiskers],
    });
    canvas.closest("figure").querySelector(".reading").textContent = datasets.length ? "" : "No row is chosen, or none has a number here.";
  }

  // -- the plots ------------------------------------------------------------------------------------------------------
  function attacks() {
    const ball = Number(byId("chart-ball").value), rows = chosen();
    const names = data.names.filter((name) => known.some((point) => point.ball === ball && point.series === name));
    const order = [CLEAN, ...names.filter((name) => name !== CLEAN && name !== WORST), WORST].filter((name) => names.includes(name));
    const step = Math.min(0.11, 0.8 / Math.max(1, rows.length));
    const sets = rows.map((row, turn) => ({
      ...look(row),
      data: known.filter((point) => point.ball === ball && point.row === row).map((point) => ({
        x: order.indexOf(point.series) + (turn - (rows.length - 1) / 2) * step, y: point.value, low: point.low ?? undefined,
        high: point.high ?? undefined, bound: point.status === "bound", told: `${point.series}: ${number(point)}`,
      })),
    })).filter((set) => set.data.length);
    draw("chart-attacks", sets, {
      y: evenly(shares("accuracy, %")),
      x: {
        ...axis("", { rest: { min: -0.6, max: order.length - 0.4 }, ticks: { callback: (value) => order[value] ?? "", autoSkip: false, maxRotation: 60 } }),
        title: { display: false }, grid: { display: false },
        afterBuildTicks: (scale) => { scale.ticks = order.map((_, value) => ({ value })); },
      },
    });
  }
  function against() {
    const norm = byId("chart-norm").value, series = byId("chart-series").value;
    const balls = data.balls.map((ball, at) => ({ ...ball, at })).filter((ball) => ball.norm === norm);
    const curves = series === WORST ? data.curves.filter((curve) => curve.norm === norm) : [];
    const end = Math.max(...balls.map((ball) => ball.eps), 0) * 1.08;
    const sets = [];
    chosen().forEach((row) => {
      const own = known.filter((point) => point.row === row && balls.some((ball) => ball.at === point.ball));
      const clean = own.find((point) => point.series === CLEAN);
      const told = (point, name, tick) => `${name} at ${tick}: ${number(point)}`;
      const marks = own.filter((point) => point.series === series).map((point) => ({
        x: data.balls[point.ball].eps, y: point.value, low: point.low ?? undefined, high: point.high ?? undefined,
        bound: point.status === "bound", told: told(point, series, `eps ${data.balls[point.ball].tick}`),
      })).sort((a, b) => a.x - b.x);
      if (!marks.length) return;
      if (clean) marks.unshift({ x: 0, y: clean.value, low: clean.low ?? undefined, high: clean.high ?? undefined, told: told(clean, CLEAN, "eps 0") });
      const curve = curves.find((one) => one.row === row);
      sets.push({ ...look(row), data: marks, showLine: !curve, borderDash: DASHES[(row + Math.floor(row / 4)) % 4] });
      if (curve) {
        const steps = curve.steps.filter(([x]) => x < end).map(([x, y]) => ({ x, y, told: `minimum-norm attacks: ${percent(y)} % beyond ${x.toPrecision(3)}` }));
        sets.push({ ...look(row), data: [...steps, { ...steps[steps.length - 1], x: end }], showLine: true, stepped: "before", pointRadius: 0, pointHoverRadius: 0, pointHitRadius: 0, borderDash: DASHES[(row + Math.floor(row / 4)) % 4] });
      }
    });
    const ticks = [{ value: 0, label: "0" }, ...balls.map((ball) => ({ value: ball.eps, label: ball.tick }))];
    draw("chart-eps", sets, {
      y: evenly(shares("robust accuracy, %")),
      x: {
        ...axis(`eps, ${titled(norm)}`, { rest: { min: -end / 60, max: end }, ticks: { callback: (value) => (ticks.find((tick) => tick.value === value) || { label: "" }).label } }),
        afterBuildTicks: (scale) => { scale.ticks = ticks.map(({ value }) => ({ value })); },
      },
    });
  }
  function scatter() {
    const ball = Number(byId("chart-ball").value);
    const sets = chosen().map((row) => {
      const own = known.filter((point) => point.ball === ball && point.row === row);
      const clean = own.find((point) => point.series === CLEAN), worst = own.find((point) => point.series === WORST);
      if (!clean || !worst) return null;
      return {
        ...look(row),
        data: [{
          x: clean.value, y: worst.value, low: worst.low ?? undefined, high: worst.high ?? undefined, left: clean.low ?? undefined,
          right: clean.high ?? undefined, bound: worst.status === "bound", told: [`worst case: ${number(worst)}`, `clean: ${number(clean)}`],
        }],
      };
    }).filter(Boolean);
    draw("chart-clean", sets, { x: evenly(shares("clean accuracy, %")), y: evenly(shares("robust accuracy, %")) });
  }
  const dashes = (place) => DASHES[place % DASHES.length];
  function line(row, steps, dash, stepped) {
    return { ...look(row), data: steps, showLine: true, stepped, pointRadius: 0, pointHoverRadius: 0, pointHitRadius: 0, borderDash: dashes(dash) };
  }
  function passes() {
    const ball = Number(byId("chart-passes-ball").value), attack = byId("chart-passes-attack").value, rows = chosen();
    const own = data.passes.filter((curve) => curve.ball === ball && rows.includes(curve.row) && (attack === EVERY || curve.name === attack));
    const names = [...new Set(data.passes.map((curve) => curve.name))];
    const from = (x) => Math.max(x, FIRST);
    const sets = own.flatMap(({ row, name, steps, marks }) => {
      const end = marks[marks.length - 1], dash = attack === EVERY ? names.indexOf(name) : row + Math.floor(row / 4);
      return [
        { ...look(row), pointRadius: 3.5, data: marks.map(([x, y, low, high]) => ({ x: from(x), y, low, high, told: `${name} after ${many(x)}: ${number({ value: y, low, high })}` })) },
        line(row, [...steps.map(([x, y]) => ({ x: from(x), y })), { x: from(end[0]), y: end[1] }], dash, "before"),
      ];
    });
    const last = Math.max(2, ...data.passes.filter((curve) => curve.ball === ball && (attack === EVERY || curve.name === attack)).map((curve) => curve.marks[curve.marks.length - 1][0]));
    const ticks = [1, 10, 100, 1000, 10000, 100000, 1000000].filter((value) => value <= 1.4 * last).map((value) => ({ value }));
    draw("chart-passes", sets, {
      y: evenly(shares("robust accuracy, %")),
      x: {
        ...axis("passes per image", { rest: { min: FIRST, max: 1.4 * last }, ticks: { callback: (value) => value.toLocaleString("en") } }), type: "logarithmic",
        afterBuildTicks: (scale) => { scale.ticks = ticks; },
      },
    });
  }
  function certified() {
    const norm = byId("chart-certified-norm").value;
    const curves = data.certified.filter((curve) => curve.norm === norm), rows = chosen();
    const balls = data.balls.map((ball, at) => ({ ...ball, at })).filter((ball) => ball.norm === norm);
    const reach = (curve) => curve.steps[curve.steps.length - 1][0];
    const end = 1.06 * Math.max(...curves.map(reach), ...balls.map((ball) => ball.eps));
    const sets = curves.filter((curve) => rows.includes(curve.row)).flatMap((curve) => {
      const { row, steps, marks } = curve;
      const sure = marks.map(([x, y, low, high]) => ({
        x, y, low, high, told: `certified ${x ? `at radius ${Number(x.toPrecision(4))}` : "at any radius"}: ≥ ${number({ value: y, low, high })}`,
      }));
      const attacked = known.filter((point) => point.row === row && point.series === WORST && balls.some((ball) => ball.at === point.ball)).map((point) => ({
        x: data.balls[point.ball].eps, y: point.value, low: point.low ?? undefined, high: point.high ?? undefined, bound: point.status === "bound",
        told: `worst case of the attacks at eps ${data.balls[point.ball].tick}: ${number(point)}`,
      }));
      return [
        { ...look(row), data: attacked },
        { ...look(row), pointRadius: 2, data: sure },
        line(row, [...steps, [reach(curve), 0], [end, 0]].map(([x, y]) => ({ x, y })), row + Math.floor(row / 4), "after"),
      ];
    });
    draw("chart-certified", sets, {
      y: evenly(shares("accuracy, %")),
      x: axis(`radius, ${titled(norm)}, images in [0, 1]`, { rest: { min: -end / 60, max: end }, ticks: { includeBounds: false, callback: (value) => (value >= 0 ? Number(value.toPrecision(3)) : "") } }),
    });
  }
  function severity() {
    const rows = chosen(), last = Math.max(...data.severities.flatMap((curve) => curve.marks.map(([x]) => x)));
    const where = (x) => (x ? `severity ${x}` : CLEAN);
    const sets = data.severities.filter((curve) => rows.includes(curve.row)).map(({ row, marks }) => ({
      ...look(row), showLine: true, borderDash: dashes(row + Math.floor(row / 4)),
      data: marks.map(([x, y, low, high]) => ({ x, y, low, high, told: `${where(x)}: ${number({ value: y, low, high })}` })),
    }));
    const ticks = Array.from({ length: last + 1 }, (_, value) => ({ value }));
    draw("chart-severity", sets, {
      y: evenly(shares("accuracy, mean over the corruptions, %")),
      x: {
        ...axis("severity", { rest: { min: -0.1, max: last + 0.1 }, ticks: { callback: (value) => value || CLEAN } }),
        afterBuildTicks: (scale) => { scale.ticks = ticks; },
      },
    });
  }
  function drawAll() {
    if (data.balls.length) {
      attacks();
      against();
      scatter();
    }
    if (data.severities.length) severity();
    if (data.passes.length) passes();
    if (data.certified.length) certified();
  }

  // -- the keyboard ---------------------------------------------------------------------------------------------------
  function reachable(chart) {
    const found = [];
    chart.data.datasets.forEach((set, datasetIndex) => set.data.forEach((_, index) => { if (set.pointHitRadius !== 0) found.push({ datasetIndex, index }); }));
    return found;
  }
  function walk(event) {
    const chart = made[event.target.id], marks = chart ? reachable(chart) : [];
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity, Escape: 0 }[event.key];
    if (step === undefined || !marks.length) return;
    event.preventDefault();
    const at = chart.walked === undefined ? (step > 0 ? -1 : 0) : chart.walked;
    const place = step === Infinity ? marks.length - 1 : step === -Infinity ? 0 : (at + step + marks.length) % marks.length;
    const active = step === 0 ? [] : [marks[place]];
    chart.walked = step === 0 ? undefined : place;
    chart.setActiveElements(active);
    chart.tooltip.setActiveElements(active, { x: 0, y: 0 });
    chart.update();
    const set = active.length ? chart.data.datasets[active[0].datasetIndex] : null;
    event.target.closest("figure").querySelector(".reading").textContent = set ? `${set.label}: ${[].concat(set.data[active[0].index].told).join("; ")}` : "";
  }

  if (!data.balls.length && !data.severities.length) {
    document.querySelector("#plots .script").textContent = "There is nothing to draw yet.";
    return;
  }
  const choice = (text, value) => { const one = document.createElement("option"); one.textContent = text; one.value = value ?? text; return one; };
  if (data.balls.length) {
    const norms = [...new Set(data.balls.map((ball) => ball.norm))];
    byId("chart-norm").append(...norms.map((norm) => choice(titled(norm), norm)));
    byId("chart-series").append(...[WORST, ...data.names.filter((name) => name !== WORST && name !== CLEAN)].map((name) => choice(name)));
    byId("chart-ball").value = String(data.balls.length - 1);
  }
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  if (data.passes.length) {
    const under = [...new Set(data.passes.map((curve) => curve.ball))];
    byId("chart-passes-ball").append(...under.map((ball) => choice(data.balls[ball].label, String(ball))));
    byId("chart-passes-ball").value = String(under[under.length - 1]);
    byId("chart-passes-attack").append(...[...new Set(data.passes.map((curve) => curve.name))].map((name) => choice(name)), choice("all attacks", EVERY));
  }
  if (data.certified.length) {
    byId("chart-certified-norm").append(...[...new Set(data.certified.map((curve) => curve.norm))].map((norm) => choice(titled(norm), norm)));
  }
  ["chart-ball", "chart-norm", "chart-series", "chart-passes-ball", "chart-passes-attack", "chart-certified-norm", "legend"].forEach((id) => byId(id)?.addEventListener("input", drawAll));
  ["chart-attacks", "chart-eps", "chart-clean", "chart-severity", "chart-passes", "chart-certified"].forEach((id) => byId(id)?.addEventListener("keydown", walk));
  document.addEventListener("bench:redraw", drawAll);
})();
