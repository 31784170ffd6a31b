// The constants of <sys/socket.h>, <netinet/*.h>, <netdb.h> and <poll.h>, under their C names and for programs
// to use. The values are Linux's asm-generic ones, which x64 and arm64 share.

// Address families.
/** Any address family. Only for look-ups. */
export const AF_UNSPEC = 0;
/** Unix domain sockets: `unix(7)`. */
export const AF_UNIX = 1;
/** IPv4: `ip(7)`. */
export const AF_INET = 2;
/** IPv6: `ipv6(7)`. */
export const AF_INET6 = 10;

// Socket types.
/** A byte stream: TCP, or a Unix stream socket. */
export const SOCK_STREAM = 1;
/** Datagrams: UDP, or a Unix datagram socket. */
export const SOCK_DGRAM = 2;
/** Raw access to a network protocol: `raw(7)`. Needs CAP_NET_RAW. */
export const SOCK_RAW = 3;
/** A connection that keeps the boundaries between messages. Unix sockets have it. */
export const SOCK_SEQPACKET = 5;
/** Flag beside the socket type: the descriptor does not block. The library always sets it. */
export const SOCK_NONBLOCK = 0o4000;
/** Flag beside the socket type: the descriptor closes on exec. The library always sets it. */
export const SOCK_CLOEXEC = 0o2000000;

// Protocols, which are also the levels of their options.
/** Level of the `IP_` options. As a protocol, 0 chooses the default of the socket type. */
export const IPPROTO_IP = 0;
/** ICMP: `icmp(7)`. */
export const IPPROTO_ICMP = 1;
/** TCP, and the level of the `TCP_` options: `tcp(7)`. */
export const IPPROTO_TCP = 6;
/** UDP: `udp(7)`. */
export const IPPROTO_UDP = 17;
/** IPv6, and the level of the `IPV6_` options: `ipv6(7)`. */
export const IPPROTO_IPV6 = 41;

// Options of SOL_SOCKET.
/** Level of the `SO_` options: `socket(7)`. */
export const SOL_SOCKET = 1;
/** Boolean: socket debugging. Needs CAP_NET_ADMIN. */
export const SO_DEBUG = 1;
/** Boolean: `bind` accepts an address whose previous connections are in TIME_WAIT. See `setReuseAddr`. */
export const SO_REUSEADDR = 2;
/** Read-only: the socket type, such as `SOCK_STREAM`. */
export const SO_TYPE = 3;
/** Read-only: the pending error as an errno, or 0. Reading clears the error. */
export const SO_ERROR = 4;
/** Boolean: send only to hosts on directly connected networks. */
export const SO_DONTROUTE = 5;
/** Boolean: a datagram socket may send to a broadcast address. */
export const SO_BROADCAST = 6;
/** Size of the send buffer in bytes. The kernel doubles the value that is set. */
export const SO_SNDBUF = 7;
/** Size of the receive buffer in bytes. The kernel doubles the value that is set. */
export const SO_RCVBUF = 8;
/** Boolean: probe an idle connection. `TCP_KEEPIDLE`, `TCP_KEEPINTVL` and `TCP_KEEPCNT` set the times. */
export const SO_KEEPALIVE = 9;
/** Boolean: urgent data stays in the normal stream. */
export const SO_OOBINLINE = 10;
/** Queueing priority of sent packets, 0 to 6; more needs CAP_NET_ADMIN. */
export const SO_PRIORITY = 12;
/**
 * `struct linger` (two ints: on or off, seconds): what `close` does with unsent data. On with 0 seconds:
 * reset the connection.
 */
export const SO_LINGER = 13;
/** Boolean: several sockets bind the same address and port, and the kernel spreads the connections. */
export const SO_REUSEPORT = 15;
/** Boolean: received messages of a Unix socket carry `SCM_CREDENTIALS`. */
export const SO_PASSCRED = 16;
/** Read-only `struct ucred` (three ints: pid, uid, gid): the peer of a connected Unix socket. */
export const SO_PEERCRED = 17;
/** Bytes that must have arrived before the socket is readable. Default 1. */
export const SO_RCVLOWAT = 18;
/** `struct timeval`: timeout of a blocking receive. No effect here, because no call blocks. */
export const SO_RCVTIMEO = 20;
/** `struct timeval`: timeout of a blocking send. No effect here, because no call blocks. */
export const SO_SNDTIMEO = 21;
/** Interface name: the socket sends and receives through that interface alone. */
export const SO_BINDTODEVICE = 25;
/** Boolean: received datagrams carry `SCM_TIMESTAMP`. */
export const SO_TIMESTAMP = 29;
/** Read-only boolean: whether the socket listens. */
export const SO_ACCEPTCONN = 30;
/** Firewall mark of sent packets. Needs CAP_NET_ADMIN. */
export const SO_MARK = 36;
/** Read-only: the protocol, such as `IPPROTO_TCP`. */
export const SO_PROTOCOL = 38;
/** Read-only: the address family, such as `AF_INET`. */
export const SO_DOMAIN = 39;
/** The CPU that the socket’s packets are processed on. */
export const SO_INCOMING_CPU = 49;

// Control messages of SOL_SOCKET.
/** Control message of Unix sockets: descriptors, as ints. See `sendFds`. */
export const SCM_RIGHTS = 1;
/** Control message of Unix sockets: `struct ucred` (three ints: pid, uid, gid) of the sender. */
export const SCM_CREDENTIALS = 2;
/** Control message: `struct timeval`, the time at which the datagram arrived. */
export const SCM_TIMESTAMP = 29;

// Options of IPPROTO_TCP.
/** Boolean: send small segments at once (no Nagle algorithm). */
export const TCP_NODELAY = 1;
/** Maximum segment size in bytes. */
export const TCP_MAXSEG = 2;
/** Boolean: hold back partial segments, for 200 ms at most. */
export const TCP_CORK = 3;
/** Idle seconds before the first keep-alive probe. Default 7200. */
export const TCP_KEEPIDLE = 4;
/** Seconds between keep-alive probes. Default 75. */
export const TCP_KEEPINTVL = 5;
/** Unanswered keep-alive probes before the connection is dropped. Default 9. */
export const TCP_KEEPCNT = 6;
/** SYN retransmissions before a connect fails with ETIMEDOUT. Default 6. */
export const TCP_SYNCNT = 7;
/** Seconds that an orphaned connection stays in FIN_WAIT2. Default 60. */
export const TCP_LINGER2 = 8;
/** Seconds: a listener reports a connection only when data has arrived. */
export const TCP_DEFER_ACCEPT = 9;
/** Read-only `struct tcp_info`: state, round-trip time, retransmissions. */
export const TCP_INFO = 11;
/** Boolean: acknowledge at once. The kernel may turn it off again. */
export const TCP_QUICKACK = 12;
/** Name of the congestion control algorithm, such as `cubic`. */
export const TCP_CONGESTION = 13;
/** Milliseconds that sent data may stay unacknowledged before the connection fails with ETIMEDOUT. */
export const TCP_USER_TIMEOUT = 18;
/** Length of a listener’s queue of TCP Fast Open requests; 0 turns it off. */
export const TCP_FASTOPEN = 23;
/** Bytes of unsent data up to which the socket counts as writable. Default: no limit but `SO_SNDBUF`. */
export const TCP_NOTSENT_LOWAT = 25;

// Options and control messages of IPPROTO_IP and IPPROTO_IPV6.
/** Type-of-service byte of sent packets: DSCP and ECN. As a control message, that of the received packet. */
export const IP_TOS = 1;
/** Time to live of sent packets, 1 to 255. As a control message, that of the received packet. */
export const IP_TTL = 2;
/**
 * Boolean: received datagrams carry `struct in_pktinfo` (interface index, local address, header
 * destination).
 */
export const IP_PKTINFO = 8;
/** Boolean: queue errors in detail, for `MSG_ERRQUEUE`. */
export const IP_RECVERR = 11;
/** Boolean: received datagrams carry `IP_TTL`. */
export const IP_RECVTTL = 12;
/** Boolean: received datagrams carry `IP_TOS`. */
export const IP_RECVTOS = 13;
/** `struct in_addr` or `ip_mreqn`: the interface that multicast leaves through. */
export const IP_MULTICAST_IF = 32;
/** Time to live of sent multicast packets. Default 1. */
export const IP_MULTICAST_TTL = 33;
/** Boolean: this host receives its own multicast packets. Default true. */
export const IP_MULTICAST_LOOP = 34;
/** `struct ip_mreq` or `ip_mreqn`: join a multicast group. */
export const IP_ADD_MEMBERSHIP = 35;
/** `struct ip_mreq` or `ip_mreqn`: leave a multicast group. */
export const IP_DROP_MEMBERSHIP = 36;
/** Hop limit of sent unicast packets, 0 to 255; -1: the default of the route. */
export const IPV6_UNICAST_HOPS = 16;
/** Interface index that multicast leaves through; 0: the kernel chooses. */
export const IPV6_MULTICAST_IF = 17;
/** Hop limit of sent multicast packets. Default 1. */
export const IPV6_MULTICAST_HOPS = 18;
/** Boolean: this host receives its own multicast packets. Default true. */
export const IPV6_MULTICAST_LOOP = 19;
/** `struct ipv6_mreq` (address, interface index): join a multicast group. */
export const IPV6_JOIN_GROUP = 20;
/** `struct ipv6_mreq` (address, interface index): leave a multicast group. */
export const IPV6_LEAVE_GROUP = 21;
/** Boolean: queue errors in detail, for `MSG_ERRQUEUE`. */
export const IPV6_RECVERR = 25;
/** Boolean: the socket is for IPv6 alone, not for IPv4-mapped addresses. Set it before `bind`. */
export const IPV6_V6ONLY = 26;
/** Boolean: received datagrams carry `IPV6_PKTINFO`. */
export const IPV6_RECVPKTINFO = 49;
/** Control message: `struct in6_pktinfo` (local address, interface index). */
export const IPV6_PKTINFO = 50;
/** Boolean: received datagrams carry `IPV6_HOPLIMIT`. */
export const IPV6_RECVHOPLIMIT = 51;
/** Control message: the hop limit of a packet, an int. */
export const IPV6_HOPLIMIT = 52;
/** Boolean: received datagrams carry `IPV6_TCLASS`. */
export const IPV6_RECVTCLASS = 66;
/** Traffic class of sent packets. As a control message, that of the received packet. */
export const IPV6_TCLASS = 67;

// Flags of send(2) and recv(2).
/** Send or receive urgent data: one byte of TCP’s stream. */
export const MSG_OOB = 0x1;
/** Receive without taking the data out of the buffer. */
export const MSG_PEEK = 0x2;
/** Send only to hosts on directly connected networks. */
export const MSG_DONTROUTE = 0x4;
/** Result flag: the control data was longer than its buffer, and is truncated. */
export const MSG_CTRUNC = 0x8;
/** Result flag: the datagram was longer than its buffer, and is truncated. */
export const MSG_TRUNC = 0x20;
/** Do not block. The library’s sockets never do. */
export const MSG_DONTWAIT = 0x40;
/** End of a record, for `SOCK_SEQPACKET`. */
export const MSG_EOR = 0x80;
/** Wait until the whole buffer is full. No effect on a non-blocking socket. */
export const MSG_WAITALL = 0x100;
/** Receive a queued error: see `IP_RECVERR`. */
export const MSG_ERRQUEUE = 0x2000;
/** Send without SIGPIPE when the peer is gone. */
export const MSG_NOSIGNAL = 0x4000;
/** More data follows: hold back a partial segment, or extend the datagram. */
export const MSG_MORE = 0x8000;
/** Descriptors that are received close on exec. */
export const MSG_CMSG_CLOEXEC = 0x40000000;

// How to shut down, and the longest accept queue that Linux allows unless it is told otherwise; `listen`
// asks for 511 by default.
/** `shutdown`: no more input. */
export const SHUT_RD = 0;
/** `shutdown`: no more output. TCP sends a FIN after the data. */
export const SHUT_WR = 1;
/** `shutdown`: neither input nor output. */
export const SHUT_RDWR = 2;
/** The longest backlog that Linux allows by default; net.core.somaxconn changes the limit. */
export const SOMAXCONN = 4096;

// Flags of getaddrinfo(3).
/** `getAddrInfo`: without a host, the addresses to bind to and not those to connect to. */
export const AI_PASSIVE = 0x1;
/** `getAddrInfo`: tell the official name of the host, in `canonName`. */
export const AI_CANONNAME = 0x2;
/** `getAddrInfo`: the host is a literal, and is not looked up. */
export const AI_NUMERICHOST = 0x4;
/** `getAddrInfo`: IPv4 addresses as IPv6 ones (`::ffff:192.0.2.1`) where there is none of IPv6. */
export const AI_V4MAPPED = 0x8;
/** `getAddrInfo`: with `AI_V4MAPPED`, IPv6 and IPv4 addresses. */
export const AI_ALL = 0x10;
/** `getAddrInfo`: only families in which this machine has an address. */
export const AI_ADDRCONFIG = 0x20;
/** `getAddrInfo`: the service is a number, and is not looked up. */
export const AI_NUMERICSERV = 0x400;

// Readiness, as poll(2) spells it; epoll's bits of the same names have the same values, and
// POLLNVAL has no counterpart there.
/** There is input, a connection to accept, or the end of the stream. */
export const POLLIN = 0x1;
/** There is urgent data. */
export const POLLPRI = 0x2;
/** Output can be sent, or a connect is over. */
export const POLLOUT = 0x4;
/** An error is pending, see `SO_ERROR`. Reported without being asked for. */
export const POLLERR = 0x8;
/** Both directions are closed. Reported without being asked for. */
export const POLLHUP = 0x10;
/** The descriptor is not open. Reported without being asked for. */
export const POLLNVAL = 0x20;
