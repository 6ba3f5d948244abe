// The numbers of docs/view.md, and what is computed from them: measures, scales, colours.

export interface LookPicture {
  width: number; height: number; columns: number; rows: number; thumbnail: boolean; tile_side: number;
  first_row: number; tokens: number;
  image?: string;  // data: URI, which the page adds
}
export interface Look {
  format: string;
  model: {
    name: string; architecture: string; backbone: string; layers: number; heads: number; kv_heads: number;
    head_dim: number; phantom_eta: number | null; trol_passes: number | null;
  };
  question: string; answer: string; prompt_tokens: number; stopped: boolean; ids: number[];
  tokens: { id: number; text: string; kind: 'picture' | 'prompt' | 'answer' }[];
  pictures: LookPicture[];
  attention: number[][][][];  // [answer][layer][1 or head][rows so far]
  trol?: { gate: number[][][] };  // [pass - 2][layer][rows]
  phantom?: {
    half_weight: number[][][]; value_by_head: number[][]; value_by_row: number[][];
    output_by_head: number[][]; output_by_row: number[][]; score_by_head: number[][];
  };
}

export const mean = (list: number[]) => (list.length ? list.reduce((a, b) => a + b, 0) / list.length : 0);
export const num = (x: number) => (x === 0 ? '0' : Math.abs(x) >= 0.01 ? x.toFixed(3) : x.toExponential(1));
export const percent = (x: number) => (100 * x).toFixed(x < 0.0995 ? 1 : 0) + ' %';
export const range = (n: number, first = 0) => [...Array(n).keys()].map(i => first + i);

export const has_heads = (look: Look) => look.attention.length > 0 && look.attention[0][0].length > 1;

// Of an answer's word in a layer, over all rows before it; head -1: the mean of all.
export function attention_of(look: Look, word: number, layer: number, head: number): number[] {
  const heads = look.attention[word][layer];
  if (heads.length === 1) return heads[0];
  return head >= 0 ? heads[head] : heads[0].map((_, j) => mean(heads.map(h => h[j])));
}

// A number a layer and token; null where a token has none.
export interface Measure {
  name: string; ends: string; note: string;
  diverging?: boolean;  // around 0.5
  at: (layer: number, token: number, head: number) => number | null;
}
export function measures_of(look: Look): Measure[] {
  const all: Measure[] = [];
  look.trol?.gate.forEach((gate, i) => all.push({
    name: `TroL: gate of pass ${i + 2}`, ends: 'share of the pass, 0 to 1', diverging: true,
    note: `How much of pass ${i + 2} goes into the layer's output, 0.5 · tanh(w · h + b) + 0.5: 0 keeps the pass before, ` +
      '1 takes the repeat. ' + (gate[0].length > look.prompt_tokens ? '' : 'Answer tokens pass once and have no gate.'),
    at: (l, t) => (t < gate[l].length ? gate[l][t] : null) }));
  const p = look.phantom;
  if (!p) return all;
  all.push({
    name: 'Phantom: half-weight', ends: 'share of the plain half, 0 to 1', diverging: true,
    note: 'Share of the plain half o1 in the blend; the rest is the ghost half o2 = o1 + attention over η · ghost values. The head is chosen above.',
    at: (l, t, head) => (head >= 0 ? p.half_weight[l][t][head] : mean(p.half_weight[l][t])) });
  all.push({
    name: 'Phantom: size of ghost values', ends: '|η gv| / |v|, Euclidean norms over all heads',
    note: `How long the ghost value is beside the plain value it is added to (η = ${look.model.phantom_eta}).`,
    at: (l, t) => p.value_by_row[l][t] });
  all.push({
    name: 'Phantom: change of the attention’s output', ends: '|o2 − o1| / |o1|, Euclidean norms over all heads',
    note: 'How far the ghost half lies from the plain half at this token.',
    at: (l, t) => p.output_by_row[l][t] });
  return all;
}

// ---- colours ----

export type Colour = [number, number, number, number];
const stops = [[12, 7, 60], [120, 28, 109], [206, 66, 72], [249, 148, 36], [255, 214, 64]];
const clamped = (v: number) => Math.min(Math.max(v, 0), 1);

// 0..1, over a picture
export function heat(v: number): Colour {
  const x = clamped(v) * (stops.length - 1), i = Math.min(Math.floor(x), stops.length - 2);
  const mixed = stops[i].map((c, k) => Math.round(c + (x - i) * (stops[i + 1][k] - c)));
  return [mixed[0], mixed[1], mixed[2], 60 + Math.round(140 * clamped(v))];
}
const poles = (v: number): Colour =>
  v >= 0 ? [230, 105, 20, 30 + Math.round(190 * v)] : [25, 100, 235, 30 - Math.round(190 * v)];
export const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const ink = (v: number, pole = 'high') => `rgba(${css('--' + pole)}, ${(0.75 * clamped(v)).toFixed(3)})`;

export interface Scale {
  diverging: boolean; centre: number; low: number; high: number;
  picture: (x: number | null) => Colour;
  text: (x: number | null) => string;
}
// From 0 to the largest value; diverging: as far from 0.5 to both sides. Stretched: lowest to highest.
export function scale_of(values: (number | null)[], around_half: boolean, stretched = false): Scale {
  let low = Infinity, high = -Infinity;
  for (const x of values) if (x !== null) { low = Math.min(low, x); high = Math.max(high, x); }
  const known = low <= high, diverging = around_half || stretched;
  const centre = stretched && known ? (low + high) / 2 : around_half ? 0.5 : 0;
  const reach = (known && Math.max(Math.abs(low - centre), Math.abs(high - centre))) || 1e-9;
  const unit = (x: number) => (x - centre) / reach;
  const signed = (v: number) => (v >= 0 ? ink(v) : ink(-v, 'low'));
  return {
    diverging, centre, low: centre - (diverging ? reach : 0), high: centre + reach,
    picture: x => (x === null ? [0, 0, 0, 0] : diverging ? poles(unit(x)) : heat(unit(x))),
    text: x => (x === null ? 'transparent' : diverging ? signed(unit(x)) : ink(unit(x))),
  };
}
export const heat_bar = `linear-gradient(90deg, ${stops.map(c => `rgb(${c})`).join(', ')})`;
export const plain_bar = () => `linear-gradient(90deg, ${ink(0)}, ${ink(1)})`;
export const picture_bar = (s: Scale) =>
  s.diverging ? 'linear-gradient(90deg, rgb(25, 100, 235), transparent, rgb(230, 105, 20))' : heat_bar;
export const text_bar = (s: Scale) =>
  s.diverging ? `linear-gradient(90deg, ${ink(1, 'low')}, ${ink(0)} 50%, ${ink(1)})` : plain_bar();
