// What the server is doing: its metrics every second, for as long as the tab is open.
import { useEffect, useState } from 'preact/hooks';
import * as api from './api';
import { facts, parse, plots, type Measure, type Reading } from './metrics';

const kept = 121;  // readings: two minutes

export function Dashboard({ props, wants_key }: { props: api.Props | null; wants_key: () => void }) {
  const [readings, set_readings] = useState<Reading[]>([]), [trouble, set_trouble] = useState('');
  useEffect(() => {
    let timer = 0, gone = false;
    async function read() {
      try {
        const reading = { at: performance.now(), values: parse(await api.metrics()) };
        if (gone) return;
        set_readings(all => [...all, reading].slice(-kept));
        set_trouble('');
      } catch (error) {
        if (gone) return;
        if ((error as api.Refused).status === 401) return wants_key();
        set_trouble((error as Error).message);
      }
      timer = window.setTimeout(read, 1000);
    }
    read();
    return () => { gone = true; clearTimeout(timer); };
  }, []);
  const now = readings[readings.length - 1], before = readings[readings.length - 2] ?? now;
  return <main class="dashboard">
    {trouble && <p class="error" role="alert">{trouble}</p>}
    {!now ? <p class="soft">Reading the server's metrics.</p> : <>
      <div class="plots">{plots.map(m => <Plot key={m.name} measure={m} readings={readings} />)}</div>
      <dl class="facts">{facts.map(m => <div key={m.name + m.note}><dt>{m.name} <span class="soft">{m.note}</span></dt>
        <dd>{m.shown(m.at(now, before))}</dd></div>)}</dl>
      {props && <p class="soft">{props.parallel} answers at a time at most, {props.limits.queue} in the queue; the cache may take{' '}
        {(props.cache_memory / 1e9).toFixed(1)} GB, pictures {(props.image_memory / 1e6).toFixed(0)} MB.</p>}
    </>}
  </main>;
}

// The last two minutes, the newest at the right; from 0 to the largest value.
function Plot({ measure, readings }: { measure: Measure; readings: Reading[] }) {
  const values = readings.map((r, i) => measure.at(r, readings[Math.max(0, i - 1)]));
  const most = Math.max(...values, 1e-9), last = values[values.length - 1];
  const x = (i: number) => 240 - 2 * (values.length - 1 - i), y = (v: number) => 56 - 52 * v / most;
  const line = values.map((v, i) => `${x(i)},${y(v).toFixed(1)}`).join(' ');
  return <figure class="plot">
    <figcaption>{measure.name} <span class="soft">{measure.note}</span><strong>{measure.shown(last)}</strong></figcaption>
    <svg viewBox="0 0 240 60" preserveAspectRatio="none" role="img"
        aria-label={`${measure.name}, ${measure.note}: ${measure.shown(last)}; at most ${measure.shown(Math.max(...values))} in the last two minutes`}>
      <polygon points={`${x(0)},58 ${line} 240,58`} /><polyline points={line} />
    </svg>
  </figure>;
}
