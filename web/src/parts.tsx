// Small parts: icons, dialogs, sentences for screen readers.
import type { ComponentChildren } from 'preact';
import { useEffect, useReducer, useRef } from 'preact/hooks';

const paths = {
  menu: 'M4 6h16M4 12h16M4 18h16', plus: 'M12 5v14M5 12h14', close: 'M6 6l12 12M18 6L6 18', send: 'M12 19V5M5 12l7-7 7 7',
  stop: 'M7 7h10v10H7z', picture: 'M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4', retry: 'M20 11a8 8 0 1 0-2.300 6M20 4v7h-7',
  edit: 'M4 20l1-4L16 5l3 3L8 19zM14 7l3 3', copy: 'M9 9h11v11H9zM5 15H4V4h11v1', trash: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13',
  settings: 'M4 7h10M18 7h2M4 17h2M10 17h10M14 5v4M8 15v4', eye: 'M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z',
  save: 'M12 4v11M7 10l5 5 5-5M5 20h14', open: 'M12 15V4M7 9l5-5 5 5M5 20h14',
};
export function Icon({ name }: { name: keyof typeof paths }) {
  return <svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.800"
    stroke-linecap="round" stroke-linejoin="round"><path d={paths[name]} /></svg>;
}

export function IconButton(props: {
  icon: keyof typeof paths; name: string; text?: boolean; class?: string; disabled?: boolean; pressed?: boolean; expanded?: boolean;
  onClick: () => void;
}) {
  return <button type="button" class={'icon ' + (props.class ?? '')} aria-label={props.text ? undefined : props.name}
    title={props.text ? undefined : props.name} disabled={props.disabled} aria-pressed={props.pressed} aria-expanded={props.expanded}
    onClick={props.onClick}><Icon name={props.icon} />{props.text && <span>{props.name}</span>}</button>;
}

// A dialog of the browser's own: it keeps the focus, and Escape closes it.
export function Dialog({ title, close, children }: { title: string; close: () => void; children: ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => { element.current!.showModal(); }, []);
  return <dialog ref={element} aria-label={title} onClose={close}
      onClick={e => { if (e.target === element.current) element.current!.close(); }}>
    <div class="dialog">
      <header><h2>{title}</h2><IconButton icon="close" name="Close" onClick={() => element.current!.close()} /></header>
      {children}
    </div>
  </dialog>;
}

export const use_update = () => useReducer<number, void>(n => n + 1, 0)[1] as () => void;
