/** @type {import('jest').Config} */
module.exports = {
  testEnvironment: 'node',
  roots: ['<rootDir>/spec'],
  testMatch: ['**/*.spec.ts'],
  transform: { '^.+\\.ts$': ['ts-jest', { tsconfig: '<rootDir>/tsconfig.json' }] },
  moduleNameMapper: { '^asyncore$': '<rootDir>/lib/index.ts' },
  setupFilesAfterEnv: ['<rootDir>/spec/support/setup.ts'],
  collectCoverageFrom: ['lib/**/*.ts'],
  coverageDirectory: 'coverage',
  coverageReporters: ['text', 'lcov'],
  // Most of it is waiting, for other programs too: jest's own choice leaves one of two cores idle.
  maxWorkers: '100%',
  workerIdleMemoryLimit: '512MB',
  testTimeout: 10_000,
};
