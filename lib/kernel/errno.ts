export { closedSocket, errorCode, lookupError, SHORTAGE } from '../errors';
