const asyncore = require('asyncore');
const echo = require('./echo-body.cjs');

echo(asyncore, 'require').catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
