// docs/examples/support/http-date.ts: the three forms of a date, and what is none of them.

import { parseDate } from '../../docs/examples/support/http-date';

const NOW = Date.parse('2025-11-26T18:00:00Z');

const read = (text: string, now = NOW): string | null => {
  const time = parseDate(text, now);
  return Number.isNaN(time) ? null : new Date(time).toISOString().slice(0, 19);
};

describe('parseDate', () => {
  it.each([
    ['Sun, 06 Nov 1994 08:49:37 GMT', '1994-11-06T08:49:37'],
    ['Sunday, 06-Nov-94 08:49:37 GMT', '1994-11-06T08:49:37'],
    ['Sun Nov  6 08:49:37 1994', '1994-11-06T08:49:37'],
    ['Wed Nov 16 08:49:37 1994', '1994-11-16T08:49:37'],
    ['Thu, 29 Feb 2024 23:59:59 GMT', '2024-02-29T23:59:59'],
    ['Sat, 31 Dec 2016 23:59:60 GMT', '2017-01-01T00:00:00'],
    ['Wed, 01 Jan 0094 00:00:00 GMT', '0094-01-01T00:00:00'],
  ])('reads %s', (text, expected) => {
    expect(read(text)).toBe(expected);
  });

  it.each([
    ['25', 2025, 2025],
    ['75', 2075, 2025],
    ['76', 1976, 2025],
    ['99', 1999, 2025],
    ['00', 2000, 2025],
    ['96', 2096, 2099],
  ])('takes the year %s for %d in %d', (digits, year, thisYear) => {
    const now = Date.UTC(thisYear, 10, 26);
    expect(read(`Sunday, 06-Nov-${digits} 08:49:37 GMT`, now)?.slice(0, 4)).toBe(`${year}`);
  });

  it('takes what is more than 50 years ahead, by a second, for the past', () => {
    expect(read('Tuesday, 26-Nov-75 18:00:00 GMT')).toBe('2075-11-26T18:00:00');
    expect(read('Tuesday, 26-Nov-75 18:00:01 GMT')).toBe('1975-11-26T18:00:01');
  });

  it.each([
    '',
    '2024-01-01',
    '784111777',
    'yesterday',
    'Sun, 06 Nov 1994 08:49:37',
    'Sun, 06 Nov 1994 08:49:37 UTC',
    'Sun, 06 Nov 1994 08:49:37 +0000',
    'Sun, 6 Nov 1994 08:49:37 GMT',
    'Sun, 06 Nov 94 08:49:37 GMT',
    'Sun, 06 Nov 1994 8:49:37 GMT',
    'sun, 06 nov 1994 08:49:37 gmt',
    'Sun,  06 Nov 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT',
    'Sunday, 06-Nov-1994 08:49:37 GMT',
    'Sun, 06-Nov-94 08:49:37 GMT',
    'Sun Nov 6 08:49:37 1994',
    'Sun Nov  6 08:49:37 94',
    'Sun, 00 Nov 1994 08:49:37 GMT',
    'Thu, 31 Nov 1994 08:49:37 GMT',
    'Wed, 29 Feb 2023 08:49:37 GMT',
    'Sun, 06 Nov 1994 24:00:00 GMT',
    'Sun, 06 Nov 1994 08:60:00 GMT',
    'Sun, 06 Nov 1994 08:49:61 GMT',
  ])('reads no date in %j', (text) => {
    expect(read(text)).toBeNull();
  });
});
