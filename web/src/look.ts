// The look inside an answer, drawn: pictures under their gates, half-weights and attention, layer by
// layer; words that show where they looked. One code for `revenant view` and the chat.
import './look.css';
import { make } from './dom';
import {
  attention_of, css, has_heads, heat, heat_bar, ink, mean, measures_of, num, percent, picture_bar, plain_bar, range,
  scale_of, text_bar, type Colour, type Look, type LookPicture, type Scale,
} from './look_data';

type Repaint = (colour: (token: number) => Colour) => void;
type Shape = Pick<LookPicture, 'columns' | 'rows' | 'first_row' | 'tile_side'>;

// ---- pictures: one canvas pixel a token, stretched over the picture ----

function paint(canvas: HTMLCanvasElement, columns: number, rows: number, at: (x: number, y: number) => Colour) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext('2d')!, data = context.createImageData(columns, rows);
  for (let y = 0; y < rows; ++y)
    for (let x = 0; x < columns; ++x) data.data.set(at(x, y), 4 * (y * columns + x));
  context.putImageData(data, 0, 0);
}

// Tokens lie tile by tile, tiles and their tokens row by row.
export function token_at(p: Shape, x: number, y: number) {
  const s = p.tile_side, tile = Math.floor(y / s) * p.columns + Math.floor(x / s);
  return p.first_row + tile * s * s + (y % s) * s + (x % s);
}

function cuts(p: Shape) {
  const line = 'rgba(255,255,255,.7) 1px, transparent 1px';
  const lines = p.columns * p.rows > 1 ? `linear-gradient(90deg, ${line}), linear-gradient(${line})` : 'none';
  return make('div', { className: 'cuts',
    style: `background: ${lines}; background-size: ${100 / p.columns}% ${100 / p.rows}%` });
}

// A picture as it was cut, and as a thumbnail if it had one.
function shapes(p: LookPicture, small: boolean): Shape[] {
  const whole = { columns: p.columns, rows: p.rows, first_row: p.first_row, tile_side: p.tile_side };
  if (!p.thumbnail || small) return [whole];
  return [whole, { columns: 1, rows: 1, tile_side: p.tile_side,
                   first_row: p.first_row + p.columns * p.rows * p.tile_side ** 2 }];
}

// Frames are built once; what comes back repaints them.
function frames(place: HTMLElement, look: Look, small: boolean, tell?: (token: number) => string): Repaint {
  const all: Repaint[] = [];
  look.pictures.forEach((p, i) => shapes(p, small).forEach((shape, j) => {
    const canvas = make('canvas'), columns = shape.columns * shape.tile_side, rows = shape.rows * shape.tile_side;
    const width = Math.round((j ? 200 : 440) * Math.min(1.3, p.width / p.height));
    const box = make('span', { className: 'picture', style: small ? '' : `max-width: ${width}px` },
      make('img', { src: p.image ?? '', alt: small ? '' : `picture ${i + 1}${j ? ', thumbnail' : ''}` }), canvas, cuts(shape));
    if (tell) box.addEventListener('mousemove', e => {
      const r = box.getBoundingClientRect();
      const x = Math.min(Math.floor((e.clientX - r.left) / r.width * columns), columns - 1);
      const y = Math.min(Math.floor((e.clientY - r.top) / r.height * rows), rows - 1);
      if (x < 0 || y < 0) return;
      const token = token_at(shape, x, y);
      box.title = (j ? 'thumbnail, ' : '') + `token ${token}: ` + tell(token);
    });
    place.append(box);
    all.push(colour => paint(canvas, columns, rows, (x, y) => colour(token_at(shape, x, y))));
  }));
  return colour => all.forEach(f => f(colour));
}

function legend(place: HTMLElement, low: string, high: string, label: string, background: string) {
  place.replaceChildren(make('span', { textContent: low }), make('i', { style: `background: ${background}` }),
    make('span', { textContent: high }), make('span', { textContent: label }));
}

// ---- a select and its label ----

function choice(name: string, options: string[], first: number, change: (value: number) => void) {
  const select = make('select');
  options.forEach((text, i) => select.append(make('option', { textContent: text, value: String(first + i) })));
  select.addEventListener('change', () => change(+select.value));
  return make('label', {}, name + ' ', select);
}

const two = (left: HTMLElement[], right: (HTMLElement | string)[], pictures: boolean) =>
  make('div', { className: pictures ? 'two' : 'two text_only' },
    make('div', { hidden: !pictures }, ...left), make('div', {}, ...right));

export interface LookOptions {
  keys: HTMLElement | Document;  // where left and right arrow keys choose the layer
}

// Builds everything in `place`; what comes back takes it away.
export function mount_look(place: HTMLElement, look: Look, options: LookOptions): () => void {
  const L = look.model.layers, H = look.model.heads, P = look.prompt_tokens, N = look.tokens.length;
  const state = { layer: L - 1, head: -1, word: 0, pinned: 0, measure: 0, stretch: 0, group: 0 };
  const is_picture = (t: number) => look.tokens[t].kind === 'picture';
  const picture_rows = range(P).filter(is_picture), text_rows = range(P).filter(t => !is_picture(t));
  const answer_rows = range(N - P, P), has_pictures = picture_rows.length > 0;
  const measures = measures_of(look), per_heads = has_heads(look);
  const attention = (word: number, layer: number) => attention_of(look, word, layer, state.head);
  const measured = (l: number, t: number) => measures[state.measure].at(l, t, state.head);
  const shown = (t: number) => look.tokens[t].text || '·';
  const div = (className = '') => make('div', { className });

  function set_layer(layer: number) {
    state.layer = Math.min(Math.max(layer, 0), L - 1);
    draw();
  }

  // ---- words ----
  function fill_words(words: HTMLElement, from: number, to: number, pressed: boolean): [number, HTMLElement][] {
    const spans: [number, HTMLElement][] = [];
    for (let t = from; t < to; ++t) {
      if (is_picture(t)) {
        let end = t;
        while (end < to && is_picture(end)) ++end;
        words.append(make('span', { className: 'pic', textContent: `▦ picture, ${end - t} tokens` }));
        t = end - 1;
        continue;
      }
      const word = make(pressed ? 'button' : 'span', { textContent: shown(t) });
      if (word instanceof HTMLButtonElement) word.type = 'button';
      words.append(word);
      spans.push([t, word]);
    }
    return spans;
  }

  function multiples(of: HTMLElement) {
    return range(L).map(l => {
      const button = make('button', { type: 'button', title: `layer ${l}` }), text = make('span');
      const repaint = has_pictures ? frames(button, look, true) : null;
      button.append(text);
      button.addEventListener('click', () => set_layer(l));
      of.append(button);
      return { button, text, repaint };
    });
  }

  // ---- the parts ----
  const slider = make('input', { type: 'range', min: '0', max: String(L - 1) }), layer_name = make('output');
  slider.ariaLabel = 'Layer; left and right arrow keys work ' + (options.keys === document ? 'anywhere' : 'all over this look');
  slider.addEventListener('input', () => set_layer(+slider.value));
  const change = (key: 'head' | 'measure' | 'stretch' | 'group') => (value: number) => { state[key] = value; draw(); };
  const head = choice('Head', ['mean of all', ...range(H).map(String)], -1, change('head'));
  head.hidden = !per_heads && !look.phantom;
  const bar = make('div', { className: 'bar' }, make('div', {},
    make('label', { className: 'wide' }, 'Layer ', slider, layer_name), head, make('span', { className: 'soft', textContent: '← → layer' })));

  const look_pictures = div(), look_legend = div('legend'), answer_place = div('words'), shares = div('soft');
  const share_bar = div('share'), prompt_place = div('words'), prompt_legend = div('legend');
  const look_name = make('h3'), look_small = div('multiples');
  share_bar.ariaHidden = 'true';
  const head_note = per_heads ? 'Of the chosen head, or the mean of all.'
    : 'The mean of all heads; every head with revenant view --heads.';
  const look_section = make('section', {},
    make('h2', { textContent: 'Where the answer looks' }),
    make('p', { className: 'soft', textContent: 'Point at a word of the answer (or press it to keep it): colour is the attention, ' +
      'after the softmax, of the position that chose this word. ' + head_note }),
    two([look_pictures, look_legend],
      [make('div', { className: 'soft', textContent: 'answer' }), answer_place, shares, share_bar,
       make('div', { className: 'soft', textContent: 'prompt' }), prompt_place, prompt_legend, look_name, look_small], has_pictures));

  const note = make('p', { className: 'soft' }), gate_pictures = div(), gate_picture_legend = div('legend');
  const gate_place = div('words'), gate_legend = div('legend'), gate_small = div('multiples');
  const gate_section = make('section', { hidden: !measures.length },
    make('h2', { textContent: 'Gates and ghosts' }),
    make('p', { className: 'choices' }, choice('Show', measures.map(x => x.name), 0, change('measure')),
      choice('Scale', ['one for all layers', 'each layer’s lowest to highest, picture and text apart'], 0, change('stretch'))),
    note, two([gate_pictures, gate_picture_legend],
      [gate_place, gate_legend, make('h3', { textContent: 'Every layer' }), gate_small], has_pictures));

  const groups = ([['all tokens', range(N)], ['picture tokens', picture_rows], ['prompt text', text_rows],
                   ['answer', answer_rows]] as [string, number[]][]).filter(g => g[1].length);
  const matrices = div('matrices');
  const head_section = make('section', { hidden: !look.phantom },
    make('h2', { textContent: 'Phantom, head by head' }),
    make('p', { className: 'soft', textContent: 'A row a layer, a column a head; the frame marks the chosen layer. Press a row to choose it.' }),
    make('p', {}, choice('Half-weight over', groups.map(g => g[0]), 0, change('group'))), matrices);

  place.classList.add('look');
  place.replaceChildren(bar, look_section, gate_section, head_section);

  const answer_words = fill_words(answer_place, P, N, true), prompt_words = fill_words(prompt_place, 0, P, false);
  const gate_words = fill_words(gate_place, 0, N, false);
  for (const [t, word] of answer_words) {
    const choose = (keep: boolean) => {
      state.word = t - P;
      if (keep) state.pinned = t - P;
      draw_look();
    };
    word.addEventListener('mouseenter', () => choose(false));
    word.addEventListener('mouseleave', () => { state.word = state.pinned; draw_look(); });
    word.addEventListener('focus', () => choose(true));
    word.addEventListener('click', () => choose(true));
  }
  const draw_pictures = frames(look_pictures, look, false, t => percent(attention(state.word, state.layer)[t]) + ' of the attention');
  const look_multiples = multiples(look_small);
  const draw_gate_pictures = measures.length ? frames(gate_pictures, look, false, t => num(measured(state.layer, t)!)) : null;
  const gate_multiples = measures.length ? multiples(gate_small) : [];

  // ---- drawing ----
  const sum_over = (weights: number[], rows: number[]) => rows.reduce((a, t) => a + (t < weights.length ? weights[t] : 0), 0);
  const top_of = (weights: number[], rows: number[]) =>
    rows.reduce((a, t) => Math.max(a, t < weights.length ? weights[t] : 0), 0) || 1e-9;

  function draw_shares(w: number[]) {
    const parts = ([['picture', sum_over(w, picture_rows), '--high'], ['prompt text', sum_over(w, text_rows), '--low'],
                    ['answer so far', sum_over(w, answer_rows), '']] as [string, number, string][])
      .filter(p => has_pictures || p[0] !== 'picture');
    shares.textContent = `“${shown(P + state.word)}” looks at: ` + parts.map(p => `${p[0]} ${percent(p[1])}`).join(', ');
    share_bar.replaceChildren(...parts.map(p => make('span', {
      style: `width: ${100 * p[1]}%; background: ${p[2] ? `rgb(${css(p[2])})` : 'var(--soft)'}` })));
  }

  function draw_look() {
    if (!look.attention.length) return;
    const w = attention(state.word, state.layer);
    const top = top_of(w, picture_rows), text_top = top_of(w, [...text_rows, ...answer_rows]);
    draw_pictures(t => heat(w[t] / top));
    if (has_pictures) legend(look_legend, '0', percent(top), 'of this word’s attention, per picture token', heat_bar);
    legend(prompt_legend, '0', percent(text_top), 'of this word’s attention, per text token (shade: square root)', plain_bar());
    for (const [t, word] of [...prompt_words, ...answer_words]) {
      word.style.background = t < w.length ? ink(Math.sqrt(w[t] / text_top)) : 'transparent';
      word.title = t < w.length ? `token ${t}: ${percent(w[t])}` : `token ${t}: came later`;
      if (t >= P) word.ariaPressed = String(t - P === state.word);
    }
    draw_shares(w);
    look_name.textContent = `Every layer: “${shown(P + state.word)}”, each scaled to its own maximum`;
    look_multiples.forEach((m, l) => {
      const v = attention(state.word, l), most = top_of(v, picture_rows);
      m.repaint?.(t => heat(v[t] / most));
      m.text.textContent = `layer ${l} · ` +
        (has_pictures ? percent(sum_over(v, picture_rows)) + ' on pictures' : percent(sum_over(v, text_rows)) + ' on the prompt');
      m.button.ariaPressed = String(l === state.layer);
    });
  }

  function draw_gates() {
    if (!measures.length) return;
    const m = measures[state.measure], around_half = !!m.diverging;
    const layers = range(L).map(l => look.tokens.map((_, t) => measured(l, t)));
    const common = scale_of(layers.flat(), around_half);
    const scales_over = (rows: number[]) => layers.map(values =>
      state.stretch ? scale_of(rows.map(t => values[t]), around_half, true) : common);
    const of_text = scales_over([...text_rows, ...answer_rows]), of_pictures = scales_over(picture_rows);
    const text = of_text[state.layer], picture = of_pictures[state.layer];
    note.textContent = m.note;
    draw_gate_pictures!(t => picture.picture(measured(state.layer, t)));
    if (has_pictures) legend(gate_picture_legend, num(picture.low), num(picture.high), 'per picture token', picture_bar(picture));
    legend(gate_legend, num(text.low), num(text.high), m.ends + (text.diverging ? '; no colour at ' + num(text.centre) : ''), text_bar(text));
    for (const [t, word] of gate_words) {
      const x = measured(state.layer, t);
      word.style.background = text.text(x);
      word.title = `token ${t}: ` + (x === null ? 'no gate: it passes once' : num(x));
    }
    gate_multiples.forEach((one, l) => {
      one.repaint?.(t => of_pictures[l].picture(measured(l, t)));
      const over = (rows: number[]) => {
        const v = rows.map(t => measured(l, t)).filter(x => x !== null);
        return v.length ? num(mean(v)) : '–';
      };
      one.text.textContent = `layer ${l} · ` + (has_pictures ? `picture ${over(picture_rows)}, ` : '') + `text ${over(text_rows)}`;
      one.button.ariaPressed = String(l === state.layer);
    });
  }

  function matrix(title: string, rows: number[][], scale: Scale, ends: string, text: string) {
    const columns = rows[0].length, bottom = div('legend');
    const grid = make('div', { className: 'matrix', style: `grid-template-columns: 1.6em repeat(${columns}, minmax(0, 1fr))` }, make('span'));
    for (let h = 0; h < columns; ++h)
      grid.append(make('span', { className: 'name', textContent: columns <= 16 || h % 4 === 0 ? String(h) : '' }));
    rows.forEach((row, l) => {
      grid.append(make('span', { className: 'name', textContent: String(l) }));
      row.forEach((x, h) => {
        const cell = make('span', { textContent: columns <= 6 ? num(x) : '', title: `layer ${l}, head ${h}: ${num(x)}`,
                                    className: l === state.layer ? 'on' : '', style: `background: ${scale.text(x)}` });
        cell.addEventListener('click', () => set_layer(l));
        grid.append(cell);
      });
    });
    legend(bottom, num(scale.low), num(scale.high), ends, text_bar(scale));
    return make('div', {}, make('h3', { textContent: title }), grid, bottom, make('div', { className: 'soft', textContent: text }));
  }

  function draw_heads() {
    const p = look.phantom;
    if (!p) return;
    const rows = groups[state.group][1];
    const half = p.half_weight.map(layer => range(H).map(h => mean(rows.map(t => layer[t][h]))));
    const sized = (title: string, values: number[][], ends: string, text: string) =>
      matrix(title, values, scale_of(values.flat(), false), ends, text);
    matrices.replaceChildren(
      matrix('Half-weight', half, scale_of(half.flat(), true), 'share of the plain half',
             'Above 0.5 the plain half weighs more, below the ghost half.'),
      sized('Ghosts in the output', p.output_by_head, '|o2 − o1| / |o1|', 'Euclidean norms over all tokens.'),
      sized('Ghosts in the scores', p.score_by_head, 'Σ|η² gq·gk| / Σ|q·k|',
            'Over all pairs of a position that chose a word and a token it may look at.'),
      sized('Ghosts in the values', p.value_by_head, '|η gv| / |v|', 'Columns are key/value heads; Euclidean norms over all tokens.'));
  }

  function draw() {
    slider.value = String(state.layer);
    layer_name.textContent = `${state.layer} of 0–${L - 1}`;
    draw_look();
    draw_gates();
    draw_heads();
  }

  // ---- keys and themes ----
  const ends = new AbortController();
  options.keys.addEventListener('keydown', event => {
    const e = event as KeyboardEvent, target = e.target as HTMLElement;
    if (target.tagName === 'SELECT' || target === slider || e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === 'ArrowLeft') set_layer(state.layer - 1);
    else if (e.key === 'ArrowRight') set_layer(state.layer + 1);
    else return;
    e.preventDefault();
  }, { signal: ends.signal });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw, { signal: ends.signal });
  const themes = new MutationObserver(draw);
  themes.observe(document.documentElement, { attributeFilter: ['data-theme'] });
  draw();
  return () => {
    ends.abort();
    themes.disconnect();
    place.replaceChildren();
  };
}
