// A component that is drawn again only where `same` says no.
import { Component, h, type ComponentType } from 'preact';

export function memo<P extends object>(of: ComponentType<P>, same: (a: P, b: P) => boolean) {
  return class extends Component<P> {
    shouldComponentUpdate(next: P) { return !same(this.props as P, next); }
    render() { return h(of as ComponentType<any>, this.props as any); }
  };
}
