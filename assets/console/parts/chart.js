// Bars over time, in the colours of the theme.

import { html, useEffect, useRef, useState } from "../html.js";
import { settings } from "../settings.js";
import { useStore } from "../store.js";
import uPlot from "../vendor/uPlot.js";

const HEIGHT = 200;

/** The charts of a page show the same moment under the pointer. */
const TOGETHER = uPlot.sync("charts");

/**
 * `starts`: when the stretches begin, in Unix milliseconds, each `every` long; `values`: how many in each. `tone`: the custom
 * property of the bars' colour. `tick(ms)`: what the axis says. `onPoint(index)`: which stretch is pointed at, or none.
 */
export function Bars({ starts, values, every, tone, tick, label, onPoint }) {
  const place = useRef(null);
  const point = useRef(onPoint);
  point.current = onPoint;
  const theme = useTheme();
  const width = useWidth(place);

  useEffect(() => {
    if (!width) return undefined;
    const style = getComputedStyle(place.current);
    // A canvas takes colours alone: the element says what a property comes to here.
    const colour = (name) => {
      place.current.style.color = `var(${name})`;
      return style.color;
    };
    const axis = { stroke: colour("--muted"), font: `11px ${style.fontFamily}`, ticks: { show: false } };
    const chart = new uPlot(
      {
        width,
        height: HEIGHT,
        padding: [8, 20, 0, 0],
        legend: { show: false },
        cursor: { sync: { key: TOGETHER.key }, drag: { x: false, y: false }, y: false, points: { show: false } },
        // Whole numbers, and the last stretch to its end.
        scales: {
          x: { range: () => [starts[0] / 1000, (starts.at(-1) + every) / 1000] },
          y: { range: (_, __, most) => [0, Math.max(4, most * 1.08)] },
        },
        axes: [
          { ...axis, grid: { show: false }, size: 28, space: 64, values: (_, moments) => moments.map((moment) => tick(moment * 1000)) },
          { ...axis, grid: { stroke: colour("--line"), width: 1 }, size: 44, space: 28, incrs: WHOLE, values: (_, numbers) => numbers.map(short) },
        ],
        series: [{}, { fill: colour(tone), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.82, 28], align: 1, radius: 0.12 }) }],
        hooks: { setCursor: [({ cursor }) => point.current?.(cursor.left >= 0 ? cursor.idx : null)] },
      },
      [starts.map((ms) => ms / 1000), values],
      place.current,
    );
    TOGETHER.sub(chart);
    return () => {
      TOGETHER.unsub(chart);
      chart.destroy();
    };
  }, [width, theme, starts, values, tone]);

  return html`<div class="chart" ref=${place} role="img" aria-label=${label} style=${{ height: `${HEIGHT}px` }}></div>`;
}

const WHOLE = [1, 2, 5].flatMap((digit) => [digit, digit * 10, digit * 100, digit * 1e3, digit * 1e4, digit * 1e5, digit * 1e6]).sort((a, b) => a - b);

const short = (value) => (value >= 1e6 ? `${value / 1e6}M` : value >= 1e3 ? `${value / 1e3}k` : String(value));

/** Which colours are shown: another value after each change. */
function useTheme() {
  const { theme } = useStore(settings);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const [isDark, setIsDark] = useState(dark.matches);
  useEffect(() => {
    const listen = () => setIsDark(dark.matches);
    dark.addEventListener("change", listen);
    return () => dark.removeEventListener("change", listen);
  }, []);
  return `${theme}/${isDark}`;
}

function useWidth(place) {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([{ contentRect }]) => setWidth(Math.floor(contentRect.width)));
    observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  return width;
}
