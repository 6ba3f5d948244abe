import './base.css';
import './app.css';
import { render } from 'preact';
import { App } from './app';
import { load_theme, use_theme } from './settings';

use_theme(load_theme());
render(<App />, document.getElementById('app')!);
