import { lstatSync } from 'node:fs';
import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  type CreateServerOptions,
  createServer,
  type InternetAddress,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOL_SOCKET,
  Socket,
  select,
} from 'asyncore';
import * as syscalls from '../../lib/kernel/syscalls';
import { FAMILIES, localAddress, temporaryPath } from '../support/drive';
import { keep } from '../support/keep';
import { call, received } from '../support/sockets';

const LOCAL = { host: '127.0.0.1', port: 0 };
const SOON = 5000;

function server(address: Address, options?: CreateServerOptions): Socket {
  return keep(createServer(address, options));
}

/** A caller, and the connection that the server accepts. */
function connected(listener: Socket, address: Address): [caller: Socket, accepted: Socket] {
  const caller = call(address);
  expect(select([listener], [], [], SOON)[0]).toEqual([listener]);
  return [caller, keep((listener.accept() as { socket: Socket }).socket)];
}

describe('createServer', () => {
  it.each(FAMILIES)('listens, with the family of the address: %s', (_, family) => {
    const listener = server(localAddress(family));
    expect(listener.family).toBe(family);
    const [caller, accepted] = connected(listener, listener.getSockName());
    caller.send(Buffer.from('hello'));
    select([accepted], [], [], SOON);
    expect(received(accepted)).toBe('hello');
  });

  it('has SO_REUSEADDR, and a backlog of 511', () => {
    const listen = jest.spyOn(syscalls, 'listen');
    const listener = server(LOCAL);
    expect(listener.getSockOpt(SOL_SOCKET, SO_REUSEADDR)).toBe(1);
    expect(listener.getSockOpt(SOL_SOCKET, SO_REUSEPORT)).toBe(0);
    server(LOCAL, { backlog: 7 });
    expect(listen.mock.calls.map(([, backlog]) => backlog)).toEqual([511, 7]);
  });

  it('takes a host name and "" for IPv4, as Python does, unless it is told the family', () => {
    expect(server({ host: 'localhost', port: 0 }).getSockName()).toMatchObject({
      host: '127.0.0.1',
    });
    expect(server({ host: '', port: 0 }).getSockName()).toMatchObject({ host: '0.0.0.0' });
    const six = server({ host: '', port: 0 }, { family: AF_INET6 });
    expect(six.getSockName()).toMatchObject({ host: '::' });
  });

  it('keeps IPv4 out of an IPv6 socket, unless dualStackIPv6 is set', () => {
    const six = server({ host: '::', port: 0 });
    expect(six.getSockOpt(IPPROTO_IPV6, IPV6_V6ONLY)).toBe(1);
    const both = server({ host: '', port: 0 }, { dualStackIPv6: true });
    expect(both.getSockOpt(IPPROTO_IPV6, IPV6_V6ONLY)).toBe(0);
    const { port } = both.getSockName() as InternetAddress;
    const [, accepted] = connected(both, { host: '127.0.0.1', port });
    expect(accepted.acceptedFrom).toMatchObject({ host: '::ffff:127.0.0.1' });
  });

  it('shares its port with others that have reusePort', () => {
    const first = server(LOCAL, { reusePort: true });
    const address = first.getSockName();
    expect(server(address, { reusePort: true }).getSockName()).toEqual(address);
    expect(() => createServer(address)).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
  });

  it('leaves the file of a Unix path when it closes, and the next server may have the path', () => {
    const path = temporaryPath();
    createServer({ path }).close();
    expect(lstatSync(path).isSocket()).toBe(true);
    expect(server({ path }).getSockName()).toEqual({ path });
  });

  it.each<[string, () => unknown, object]>([
    ['bind', () => createServer({ host: '192.0.2.1', port: 0 }), { syscall: 'bind' }],
    [
      'a name that cannot be found',
      () => createServer({ host: 'name.invalid', port: 0 }),
      { syscall: 'getaddrinfo' },
    ],
    [
      'a family that does not fit the address',
      () => createServer({ host: '::1', port: 0 }, { family: AF_INET }),
      { message: expect.stringContaining('Cannot bind: expected an IPv4 address') },
    ],
    [
      'a host for a Unix socket',
      () => createServer(LOCAL, { family: AF_UNIX }),
      { message: expect.stringContaining('Cannot bind: expected a Unix address') },
    ],
  ])('closes its socket when it fails: %s', (_, make, error) => {
    const opened: Socket[] = [];
    const { socket } = Socket;
    jest.spyOn(Socket, 'socket').mockImplementation((...args) => {
      opened.push(socket.apply(Socket, args));
      return opened[0] as Socket;
    });
    expect(make).toThrow(expect.objectContaining(error));
    expect(opened.map(({ closed }) => closed)).toEqual([true]);
  });

  it.each<[string, unknown, unknown, string]>([
    ['no address', null, {}, 'expected { host, port } or { path }, received null'],
    ['a port alone', 8007, {}, 'expected { host, port } or { path }, received 8007'],
    ['an unknown option', LOCAL, { reuse_port: true }, 'reusePort'],
    ['a backlog that is none', LOCAL, { backlog: -1 }, 'expected a backlog to be an integer'],
    ['a backlog in place of options', LOCAL, 5, 'expected an object of options, received 5'],
    ['text for true', LOCAL, { reusePort: 'yes' }, 'expected reusePort to be true or false'],
    ['1 for true', LOCAL, { dualStackIPv6: 1 }, 'expected dualStackIPv6 to be true or false'],
    [
      'both stacks of IPv4',
      LOCAL,
      { dualStackIPv6: true },
      'expected the family AF_INET6 for dualStackIPv6, received 2',
    ],
  ])('refuses %s, and opens nothing', (_, address, options, message) => {
    const open = jest.spyOn(Socket, 'socket');
    expect(() => createServer(address as Address, options as CreateServerOptions)).toThrow(
      expect.objectContaining({
        code: expect.stringMatching(/^ERR_/),
        message: expect.stringMatching(new RegExp(`^Cannot create a server: .*${message}`)),
      }),
    );
    expect(open).not.toHaveBeenCalled();
  });
});
