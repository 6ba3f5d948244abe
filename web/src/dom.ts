// Elements with what stands in them. Text becomes text nodes, never markup.
type Props<T> = Partial<Omit<T, 'style'>> & { style?: string };
export function make<K extends keyof HTMLElementTagNameMap>(
    tag: K, props: Props<HTMLElementTagNameMap[K]> = {}, ...children: (Node | string)[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  const { style, ...others } = props;
  Object.assign(element, others);
  if (style) element.style.cssText = style;  // by CSSOM, which a strict policy allows
  element.append(...children);
  return element;
}
