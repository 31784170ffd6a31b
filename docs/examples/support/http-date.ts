// The dates of HTTP (RFC 9110 §5.6.7). There is one form to send, which is that of `Date.toUTCString`, and
// three to accept:
//
//   Sun, 06 Nov 1994 08:49:37 GMT
//   Sunday, 06-Nov-94 08:49:37 GMT
//   Sun Nov  6 08:49:37 1994
//
// `Date.parse` is of no use here: V8 accepts nearly anything as a date, in the local time zone.

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');
const WEEKDAY = '(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)';
const LONG_WEEKDAY = '(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day';
const MONTH = `(?<month>${MONTHS.join('|')})`;
const TIME = '(?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)';

const FORMS = [
  `${WEEKDAY}, (?<day>\\d\\d) ${MONTH} (?<year>\\d{4}) ${TIME} GMT`,
  `${LONG_WEEKDAY}, (?<day>\\d\\d)-${MONTH}-(?<year>\\d\\d) ${TIME} GMT`,
  `${WEEKDAY} ${MONTH} (?<day>\\d\\d| \\d) ${TIME} (?<year>\\d{4})`,
].map((form) => new RegExp(`^${form}$`));

/**
 * @param now the time that tells the century of a year with two digits; default: the current time
 * @returns in ms, as `Date.now`; NaN for everything that is no date
 */
export function parseDate(text: string, now = Date.now()): number {
  for (const form of FORMS) {
    const fields = form.exec(text)?.groups;
    if (fields !== undefined) return timeOf(fields, now);
  }
  return Number.NaN;
}

function timeOf(fields: Record<string, string>, now: number): number {
  const { year = '', month = '' } = fields;
  const [day, hour, minute, second] = ['day', 'hour', 'minute', 'second'].map((name) =>
    Number(fields[name]),
  ) as [number, number, number, number];
  // The second 60 is a leap second.
  if (hour > 23 || minute > 59 || second > 60) return Number.NaN;
  const timeIn = (fullYear: number): number => {
    const date = new Date(0);
    date.setUTCFullYear(fullYear, MONTHS.indexOf(month), day);
    // The 31st of February becomes a day of March.
    return date.getUTCDate() === day ? date.setUTCHours(hour, minute, second) : Number.NaN;
  };
  if (year.length === 4) return timeIn(Number(year));
  const limit = new Date(now);
  const thisYear = limit.getUTCFullYear();
  const inThisCentury = thisYear - (thisYear % 100) + Number(year);
  const time = timeIn(inThisCentury);
  // A date that appears to be more than 50 years ahead is one of the past.
  return time > limit.setUTCFullYear(thisYear + 50) ? timeIn(inThisCentury - 100) : time;
}
