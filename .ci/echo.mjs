import * as asyncore from 'asyncore';
import echo from './echo-body.cjs';

await echo(asyncore, 'import');
