/// <reference types="vitest/config" />
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// `npm run dev` shows a running server's data: WATCHFIRE_URL names it.
const server = process.env.WATCHFIRE_URL ?? 'http://127.0.0.1:7700';
const proxy = {
  target: server,
  changeOrigin: true,
  configure: (proxy: { on(event: 'proxyReq', then: (request: { removeHeader(name: string): void }) => void): void }) => {
    // Without a key the server takes requests of its own pages only; this one comes from Vite's port.
    proxy.on('proxyReq', (request) => request.removeHeader('origin'));
  },
};

export default defineConfig({
  plugins: [react()],
  build: {
    // Nothing as `data:` URL and no polyfill as inline script, so that a strict Content-Security-Policy holds.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    reportCompressedSize: false,
    chunkSizeWarningLimit: 800,
  },
  server: { proxy: { '^/api/': proxy, '^/metrics$': proxy, '/-': proxy } },
  preview: {
    // As the server sends it, so that what it would refuse shows here.
    headers: { 'content-security-policy': "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" },
    proxy: { '^/api/': proxy, '^/metrics$': proxy, '/-': proxy, '/v1': proxy },
  },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
