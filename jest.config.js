const { availableParallelism } = require('node:os');

/** @type {import('jest').Config} */
module.exports = {
  testEnvironment: 'node',
  reporters: ['default', '<rootDir>/spec/support/reporter.cjs'],
  roots: ['<rootDir>/spec'],
  testMatch: ['**/*.spec.ts'],
  transform: { '^.+\\.ts$': '<rootDir>/spec/support/transform.cjs' },
  moduleNameMapper: { '^asyncore$': '<rootDir>/lib/index.ts' },
  setupFilesAfterEnv: ['<rootDir>/spec/support/setup.ts'],
  collectCoverageFrom: ['lib/**/*.ts'],
  coverageDirectory: 'coverage',
  coverageReporters: ['text', 'lcov'],
  // Much of it is waiting, for the kernel and for other programs: fewer workers leave cores idle.
  maxWorkers: Math.ceil(1.5 * availableParallelism()),
  workerIdleMemoryLimit: '512MB',
  // Every wait has a limit of its own; this one is reached on no machine.
  testTimeout: 60_000,
};
