// A safe part of Markdown: text becomes elements of a fixed list, never markup. Pictures are not
// loaded, links go to http(s) and mail only; what is not understood stays as it was written.
import type { ComponentChildren, JSX } from 'preact';

type Node = ComponentChildren;

// ---- within a line ----

const inline_rules: [RegExp, (m: RegExpExecArray) => Node][] = [
  [/(`+)([\s\S]*?[^`])\1(?!`)/, m => <code>{m[2].replace(/^ (.*) $/, '$1')}</code>],
  [/\\([\\`*_{}[\]()#+\-.!~|<>])/, m => m[1]],
  [/\*\*(?=\S)([\s\S]*?\S)\*\*/, m => <strong>{inline(m[1])}</strong>],
  [/(?<!\w)__(?=\S)([\s\S]*?\S)__(?!\w)/, m => <strong>{inline(m[1])}</strong>],
  [/~~(?=\S)([\s\S]*?\S)~~/, m => <del>{inline(m[1])}</del>],
  [/\*(?=[^\s*])([^*]*?[^\s*])\*/, m => <em>{inline(m[1])}</em>],
  [/(?<!\w)_(?=[^\s_])([^_]*?[^\s_])_(?!\w)/, m => <em>{inline(m[1])}</em>],
  [/(?<!!)\[([^\]\n]+)\]\(((?:https?:\/\/|mailto:)[^\s()]+)\)/, m => link(m[2], inline(m[1]))],
  [/(?<![\w(])https?:\/\/[^\s<>()"']*[^\s<>()"'.,;:!?]/, m => link(m[0], m[0])],
];
const link = (href: string, text: Node) =>
  <a href={href} target="_blank" rel="noopener noreferrer nofollow">{text}</a>;

export function inline(text: string): Node {
  const out: Node[] = [];
  while (text) {
    let first: RegExpExecArray | null = null, make: ((m: RegExpExecArray) => Node) | null = null;
    for (const [rule, element] of inline_rules) {
      const m = rule.exec(text);
      if (m && (!first || m.index < first.index)) [first, make] = [m, element];
    }
    if (!first || !make) break;
    if (first.index) out.push(text.slice(0, first.index));
    out.push(make(first));
    text = text.slice(first.index + first[0].length);
  }
  out.push(text);
  return out;
}

// ---- blocks ----

const item = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const cells = (line: string) => line.trim().replace(/^\||\|$/g, '').split(/(?<!\\)\|/).map(c => c.trim());
const is_rule = (line: string) => /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/.test(line) && line.includes('|');
const begins_block = (line: string) =>
  /^\s*(```|~~~|#{1,6}\s|>|([-*_])(\s*\2){2,}\s*$)/.test(line) || item.test(line);

export function Markdown({ text }: { text: string }) {
  return <>{blocks(text.replace(/\r\n?/g, '\n').split('\n'), 0)}</>;
}

function blocks(lines: string[], depth: number): Node[] {
  const out: Node[] = [];
  for (let i = 0; i < lines.length;) {
    const line = lines[i], fence = /^\s*(`{3,}|~{3,})\s*([\w+#.-]*)/.exec(line);
    if (!line.trim()) { ++i; continue; }
    if (fence) {
      let end = i + 1;
      while (end < lines.length && !lines[end].trim().startsWith(fence[1])) ++end;
      out.push(<Code text={lines.slice(i + 1, end).join('\n')} language={fence[2]} />);
      i = end + 1;
      continue;
    }
    const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (heading) {
      const Tag = `h${Math.min(6, heading[1].length + 2)}` as keyof JSX.IntrinsicElements;
      out.push(<Tag>{inline(heading[2])}</Tag>);
      ++i;
    } else if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
      out.push(<hr />);
      ++i;
    } else if (/^\s*>/.test(line) && depth < 8) {
      let end = i;
      while (end < lines.length && /^\s*>/.test(lines[end])) ++end;
      out.push(<blockquote>{blocks(lines.slice(i, end).map(l => l.replace(/^\s*> ?/, '')), depth + 1)}</blockquote>);
      i = end;
    } else if (item.test(line) && depth < 8) {
      const [list, end] = list_at(lines, i, depth);
      out.push(list);
      i = end;
    } else if (line.includes('|') && i + 1 < lines.length && is_rule(lines[i + 1])) {
      let end = i + 2;
      while (end < lines.length && lines[end].includes('|')) ++end;
      out.push(<div class="table"><table>
        <thead><tr>{cells(line).map(c => <th>{inline(c)}</th>)}</tr></thead>
        <tbody>{lines.slice(i + 2, end).map(l => <tr>{cells(l).map(c => <td>{inline(c)}</td>)}</tr>)}</tbody>
      </table></div>);
      i = end;
    } else {
      let end = i + 1;
      while (end < lines.length && lines[end].trim() && !begins_block(lines[end])) ++end;
      out.push(<p>{inline(lines.slice(i, end).join('\n'))}</p>);
      i = end;
    }
  }
  return out;
}

// Items of one list: what is indented below an item belongs to it.
function list_at(lines: string[], first: number, depth: number): [Node, number] {
  const head = item.exec(lines[first])!, ordered = /\d/.test(head[2]), items: string[][] = [];
  let i = first;
  for (; i < lines.length; ++i) {
    const line = lines[i], m = item.exec(line);
    if (m && m[1].length <= head[1].length + 1) {
      if (/\d/.test(m[2]) !== ordered || m[1].length < head[1].length) break;
      items.push([m[3]]);
    } else if (line.trim() === '') {
      const next = lines[i + 1] ?? '';
      if (!/^\s{2,}\S/.test(next) && !item.test(next)) break;
      items.at(-1)!.push('');
    } else if (m || /^\s{2,}/.test(line) || !begins_block(line)) {
      items.at(-1)!.push(line.replace(/^\s{1,4}/, ''));
    } else {
      break;
    }
  }
  const children = items.map(lines => <li>{tight(blocks(lines, depth + 1))}</li>);
  const list = ordered ? <ol start={parseInt(head[2], 10)}>{children}</ol> : <ul>{children}</ul>;
  return [list, i];
}
// One paragraph alone stands without its element.
function tight(nodes: Node[]): Node[] {
  const one = nodes[0] as JSX.Element | undefined;
  if (nodes.length && one?.type === 'p') return [one.props.children, ...nodes.slice(1)];
  return nodes;
}

function Code({ text, language }: { text: string; language: string }) {
  return <div class="code">
    <div class="soft"><span>{language || 'code'}</span>
      <button type="button" class="quiet" onClick={() => navigator.clipboard?.writeText(text)} aria-label="Copy this code">Copy</button></div>
    <pre tabIndex={0}><code>{text}</code></pre>
  </div>;
}
