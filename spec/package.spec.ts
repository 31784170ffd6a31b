// What the package says of itself.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './support/program';

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));

describe('The manifest', () => {
  it('has one runtime dependency', () => {
    expect(Object.keys(manifest.dependencies)).toEqual(['koffi']);
  });

  it('lets the package be installed anywhere', () => {
    expect(manifest.os).toBeUndefined();
    expect(manifest.cpu).toBeUndefined();
  });

  it('keeps download addresses out of the lock file', () => {
    expect(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')).not.toContain('"resolved"');
  });
});
