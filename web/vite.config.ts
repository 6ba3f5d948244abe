// Two builds: the page of `revenant serve` (index.html, app.js, app.css: files of their own, so
// that a strict Content-Security-Policy allows nothing inline), and, `--mode view`, the page of
// `revenant view`, one file with everything in it.
import { defineConfig, type Plugin } from 'vite';

// Puts script and style into the page that names them.
const inline: Plugin = {
  name: 'inline',
  enforce: 'post',
  generateBundle(_, bundle) {
    for (const page of Object.values(bundle)) {
      if (page.type !== 'asset' || !page.fileName.endsWith('.html')) continue;
      let html = String(page.source), scripts = '';
      for (const [name, file] of Object.entries(bundle)) {
        if (file === page) continue;
        const tag = new RegExp(`\\s*<(script|link)[^>]*${file.fileName.replace('.', '\\.')}"[^>]*>(</script>)?`);
        html = html.replace(tag, '');
        if (file.type === 'chunk') scripts += `<script>\n${file.code}</script>\n`;
        else html = html.replace('</head>', () => `<style>\n${file.source}</style>\n</head>`);
        delete bundle[name];
      }
      page.source = html.replace('</body>', () => scripts + '</body>');
    }
  },
};

export default defineConfig(({ mode }) => ({
  base: './',
  esbuild: { jsx: 'automatic' as const, jsxImportSource: 'preact', legalComments: 'none' as const },
  plugins: mode === 'view' ? [inline] : [],
  build: {
    outDir: 'dist',
    emptyOutDir: mode !== 'view',
    target: 'es2022',
    modulePreload: false,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    rollupOptions: {
      input: mode === 'view' ? 'view.html' : 'index.html',
      output: {
        format: mode === 'view' ? ('iife' as const) : ('es' as const),
        entryFileNames: mode === 'view' ? 'view.js' : 'app.js',
        assetFileNames: mode === 'view' ? 'view.[ext]' : 'app.[ext]',
      },
    },
  },
}));
