// All scenarios, each under a name of its own.

import type { Scenario } from '../scenario';
import { CLOSING } from './closing';
import { CONNECT } from './connect';
import { KINDS } from './kinds';
import { ORDER } from './order';
import { PEERS } from './peers';

export const SCENARIOS: Scenario[] = [...CONNECT, ...PEERS, ...CLOSING, ...ORDER, ...KINDS];

const names = SCENARIOS.map((scenario) => scenario.name);
const repeated = names.find((name, index) => names.indexOf(name) !== index);
if (repeated !== undefined) throw new Error(`two scenarios are called '${repeated}'`);
