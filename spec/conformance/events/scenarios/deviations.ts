// Where this library deviates from CPython on purpose: the scenarios that show it, by the first words
// of their row in docs/differences.md, and what happens here instead.
//
// These traces are not recorded but decided: each says what its row promises, and was read against
// CPython's in traces.json. A trace that is CPython's does not belong here, and fails.

import type { Deviation } from '../scenario';

export const DEVIATIONS: Record<string, Record<string, Deviation>> = {
  'An empty datagram is taken for the end': {
    'UDP: an empty datagram ends the channel': {
      both: `
        A.read
        A received nothing
        -- A
        A is readable, addr HOST:PORT, a descriptor
      `,
    },
  },
  'An urgent byte that is not read is reported': {
    'an urgent byte that nobody takes': {
      both: `
        A.expt connected
        stdout "warning: unhandled incoming priority event\\n"
        -- A
        -- A
      `,
    },
    'bare: every default handler, warnings shown': {
      both: `
        A.read connected
        stdout "warning: unhandled read event\\n"
        A.write connected
        stdout "warning: unhandled write event\\n"
        A.expt connected
        stdout "warning: unhandled incoming priority event\\n"
        -- A
        A.read connected
        stdout "warning: unhandled read event\\n"
        A.write connected
        stdout "warning: unhandled write event\\n"
        -- A
      `,
    },
    'handleRead raises, and handleError does not close': {
      select: `
        A.read connected
        A.error connected oops
        A.write connected
        A.expt connected
        -- A
        A.read connected
        A.error connected oops
        A.write connected
        -- A
        A is connected readable writable, addr HOST:PORT, a descriptor
      `,
    },
  },
  'A channel that is watched for nothing never': {
    'the peer resets, watched for -': {
      both: `
        A.close connected
        --
        A is, addr HOST:PORT, no descriptor
      `,
    },
  },
  'One caller is accepted in each tick': {
    'two callers cost two passes': {
      both: `
        L.accept accepting
        L.accepted accepting HOST:PORT
        L.accepted accepting HOST:PORT
        -- L
        -- L
        -- L
      `,
    },
  },
  'In poll order the handlers of a channel': {
    'TCP connect to a peer that has gone again': {
      poll: `
        A.connect connecting
        A.read connected
        A.close connected
        A received nothing
        --
      `,
    },
    'a socket is handed over after its peer has reset it': {
      poll: `
        A is readable, addr none, a descriptor
        A.read
        A.close
        A received nothing
        --
      `,
    },
    'an unconnected TCP socket in the map, watched for rw': {
      poll: `
        A.write
        A.close
        A sent 0
        --
        A is readable writable, addr none, no descriptor
      `,
    },
    'an unconnected TCP socket in the map, watched for w': {
      poll: `
        A.write
        A.close
        A sent 0
        --
        A is writable, addr none, no descriptor
      `,
    },
    'an unconnected Unix socket in the map': {
      poll: `
        A.write
        A.close
        A sent 0
        --
        A is readable writable, addr none, no descriptor
      `,
    },
    'the peer closes, read and write, tcp': {
      poll: `
        A.read connected
        A.close connected
        A received nothing
        --
        A is readable writable, addr HOST:PORT, no descriptor
      `,
    },
    'the peer closes, write only, tcp': {
      poll: `
        A.write connected
        A sent 1
        -- A
        A.write connected
        A.close connected
        A sent 0
        --
      `,
    },
    'the peer dies with unread data, tcp': {
      poll: `
        A sent 6
        A.read connected
        A.close connected
        A received nothing
        --
        A is readable, addr HOST:PORT, no descriptor
      `,
    },
    'the peer dies with unread data, read and write, tcp': {
      poll: `
        A sent 6
        A.read connected
        A.close connected
        A received nothing
        --
        A is readable writable, addr HOST:PORT, no descriptor
      `,
    },
    'both directions are down, tcp': {
      poll: `
        A.read connected
        A.close connected
        A received nothing
        --
        A is readable writable, addr HOST:PORT, no descriptor
      `,
    },
    'both directions are down, watched for output, tcp': {
      poll: `
        A.write connected
        A.close connected
        A sent 0
        --
      `,
    },
    'the peer closes, read only, unix': {
      poll: `
        A.read connected
        A.close connected
        A received nothing
        --
        A is readable, addr '', no descriptor
      `,
    },
    'the peer closes, read and write, unix': {
      poll: `
        A.read connected
        A.close connected
        A received nothing
        --
        A is readable writable, addr '', no descriptor
      `,
    },
    'the peer closes, write only, unix': {
      poll: `
        A.write connected
        A.close connected
        A sent 0
        --
        --
      `,
    },
    'the peer dies with unread data, unix': {
      poll: `
        A sent 6
        A.read connected
        A.close connected
        A received nothing
        --
        A is readable, addr '', no descriptor
      `,
    },
    'the peer dies with unread data, read and write, unix': {
      poll: `
        A sent 6
        A.read connected
        A.close connected
        A received nothing
        --
        A is readable writable, addr '', no descriptor
      `,
    },
    'both directions are down, unix': {
      poll: `
        A.read connected
        A.close connected
        A received nothing
        --
        A is readable writable, addr '', no descriptor
      `,
    },
    'both directions are down, watched for output, unix': {
      poll: `
        A.write connected
        A.close connected
        A sent 0
        --
      `,
    },
    'the peer resets, watched for r': {
      poll: `
        A.read connected
        A.close connected
        A received nothing
        --
        A is readable, addr HOST:PORT, no descriptor
      `,
    },
    'the peer resets, watched for w': {
      poll: `
        A.write connected
        A.close connected
        A sent 0
        --
        A is writable, addr HOST:PORT, no descriptor
      `,
    },
    'the peer resets, watched for rw': {
      poll: `
        A.read connected
        A.close connected
        A received nothing
        --
        A is readable writable, addr HOST:PORT, no descriptor
      `,
    },
    'close in handleRead': {
      poll: `
        A.read connected
        --
        A is readable writable, addr HOST:PORT, no descriptor
      `,
    },
    'close in handleWrite': {
      poll: `
        A.read connected
        A received hello
        A.write connected
        --
        A is readable writable, addr HOST:PORT, no descriptor
      `,
    },
    'close in handleRead, and the peer has closed too': {
      poll: `
        A.read connected
        A received bye
        --
        A is readable, addr '', no descriptor
      `,
    },
    'close of everything in handleRead': {
      poll: `
        A.read connected
        --
      `,
    },
    'delChannel of itself in handleRead': {
      poll: `
        A.read connected
        --
        A is connected readable writable, addr HOST:PORT, no descriptor
        --
      `,
    },
    'a channel opens a new socket in its handler': {
      poll: `
        A.read connected
        A received hello
        -- A
        A.connect connecting
        A.write connected
        -- A
        A is connected readable writable, addr HOST:PORT, a descriptor
      `,
    },
    'a pipe without a reader, in the loop': {
      poll: `
        A.write connected
        A.close connected
        A sent 0
        --
        A is writable, addr none, no descriptor
      `,
    },
    'a file is always ready': {
      poll: `
        A.read connected
        A received hell
        A.write connected
        A sent 1
        -- A
        A.read connected
        A.close connected
        A received nothing
        --
      `,
    },
    'buffered: more than the kernel takes': {
      poll: `
        A has something waiting
        A is connected readable writable, addr '', a descriptor
        -- A
        A.read connected
        A.write connected
        A.close connected
        --
        A is readable writable, addr '', no descriptor
      `,
    },
    'readwrite: close, and all the rest': {
      both: `
        A.read connected
        A is, addr HOST:PORT, no descriptor
      `,
    },
  },
  'A descriptor that is closed and handed out again': {
    'TCP connect refused, and tried again': {
      select: String.raw`
        A.error connecting ECONNREFUSED
        stdout "error: uncaptured exception, closing channel <Channel HOST:PORT at 0x…> (ECONNREFUSED [traceback])\n"
        A.close connecting
        -- A
        A is connecting readable writable, addr HOST:PORT, a descriptor
        A.connect connecting
        A.write connected
        -- A
        A is connected readable writable, addr HOST:PORT, a descriptor
      `,
    },
    'a number is closed and handed out again within the tick': {
      both: `
        A.read connected
        A received one
        -- A C
      `,
    },
  },
  'A failed `connect()` leaves': {
    'TCP connect refused, and handleError does not close': {
      select: `
        A.error connecting ECONNREFUSED
        A.close connecting
        --
        A is readable writable, addr HOST:PORT, no descriptor
        --
        A is readable writable, addr HOST:PORT, no descriptor
      `,
      poll: `
        A.error connecting ECONNREFUSED
        -- A
        A is connecting readable writable, addr HOST:PORT, a descriptor
        A.close connecting
        --
        A is readable writable, addr HOST:PORT, no descriptor
      `,
    },
    'Unix connect to nowhere, and the loop goes on': {
      both: `
        ! ENOENT
        A is readable writable, addr none, no descriptor
        --
      `,
    },
    'Unix connect refused': {
      both: `
        ! ECONNREFUSED
        A is readable writable, addr none, no descriptor
        --
      `,
    },
    'connect after close': {
      both: `
        ! EBADF
        A is, addr none, no descriptor
      `,
    },
  },
  '`EAGAIN` from a Unix connect': {
    'Unix connect to a full backlog': {
      both: `
        ! EAGAIN
        A is readable writable, addr none, no descriptor
        --
      `,
    },
  },
  'A socket handed over while it is connecting': {
    'a socket is handed over connecting': {
      both: `
        A is connecting readable writable, addr none, a descriptor
        A.connect connecting
        A.write connected
        -- A
        A is connected readable, addr none, a descriptor
      `,
    },
  },
  'What is pushed on a closed `async_chat`': {
    'buffered: send before connect': {
      both: `
        A.close
        A has nothing waiting
        A is readable writable, addr none, no descriptor
      `,
    },
    'buffered: send to a dead peer': {
      both: `
        A.close connected
        A has nothing waiting
        A is readable writable, addr '', no descriptor
      `,
    },
  },
  'A second `create_socket` leaves': {
    'createSocket twice': {
      both: `
        -- A
      `,
    },
  },
  '`recv`, `send` and `handle_error` of a closed channel': {
    'the peer half-closes, tcp': {
      both: `
        A.read connected
        A.close connected
        A received nothing
        A sent 0
        --
        A is readable, addr HOST:PORT, no descriptor
      `,
    },
    'the peer half-closes after a request, tcp': {
      both: `
        A.read connected
        A received request
        A sent 6
        -- A
        p got answer
        A.read connected
        A.close connected
        A received nothing
        A sent 0
        --
        p got nothing
      `,
    },
    'send to a dead peer, tcp': {
      both: `
        A sent 3
        A.close connected
        A sent 0
        A sent 0
        A is, addr HOST:PORT, no descriptor
      `,
    },
    'the peer half-closes, unix': {
      both: `
        A.read connected
        A.close connected
        A received nothing
        A sent 0
        --
        A is readable, addr '', no descriptor
      `,
    },
    'the peer half-closes after a request, unix': {
      both: `
        A.read connected
        A received request
        A sent 6
        -- A
        p got answer
        A.read connected
        A.close connected
        A received nothing
        A sent 0
        --
        p got nothing
      `,
    },
    'send to a dead peer, unix': {
      both: `
        A.close connected
        A sent 0
        A sent 0
        A sent 0
        A is, addr '', no descriptor
      `,
    },
    'close in handleError, and its base after that': {
      both: String.raw`
        A.read connected
        A.error connected oops
        stdout "error: uncaptured exception, closing channel <Channel HOST:PORT at 0x…> (Scripted:oops [traceback])\n"
        --
        A is readable, addr HOST:PORT, no descriptor
      `,
    },
    'close and then raise in handleRead': {
      both: String.raw`
        A.read connected
        A.error oops
        stdout "error: uncaptured exception, closing channel <Channel HOST:PORT at 0x…> (Scripted:oops [traceback])\n"
        --
        A is readable, addr HOST:PORT, no descriptor
      `,
    },
    'close and then a lost connection in handleRead': {
      both: `
        A.read connected
        A sent 0
        --
        A is readable, addr HOST:PORT, no descriptor
      `,
    },
    'recv and send after close': {
      both: `
        A received nothing
        A sent 0
        A is readable, addr HOST:PORT, no descriptor
      `,
    },
    'buffered: a write event with nothing to write': {
      both: `
        A.write connected
        A is connected readable, addr HOST:PORT, a descriptor
        A.write connected
        A.close connected
        A.write
        A is readable writable, addr HOST:PORT, no descriptor
      `,
    },
  },
  'In poll order IN and HUP together': {
    'the peer sends and closes, unix': {
      poll: `
        A.read connected
        A received hello
        -- A
        A.read connected
        A.close connected
        A received nothing
        --
      `,
    },
    'the peer sends much and closes, unix': {
      poll: `
        A.read connected
        A received 8192 bytes
        -- A
        A.read connected
        A received 8192 bytes
        -- A
        A.read connected
        A received 3616 bytes
        -- A
        A.read connected
        A.close connected
        A received nothing
        --
      `,
    },
    'a reader that reads nothing when the peer closes, unix': {
      poll: `
        A.read connected
        -- A
        A.read connected
        -- A
        A is connected readable, addr '', a descriptor
      `,
    },
    'handleClose that does not close, unix': {
      poll: `
        A.read connected
        A.close connected
        A received nothing
        -- A
        A.read connected
        A.close connected
        A received nothing
        -- A
        A is connected readable, addr '', a descriptor
      `,
    },
    'the peer sends and resets': {
      poll: `
        A.read connected
        A received hello
        -- A
        A is connected readable, addr HOST:PORT, a descriptor
      `,
    },
    'the peer resets, and nothing is read, written or closed': {
      poll: `
        A.read connected
        A.write connected
        -- A
        A.read connected
        A.write connected
        -- A
      `,
    },
    'a pipe brings data and ends': {
      poll: `
        A.read connected
        A received hel
        -- A
        A.read connected
        A received lo
        -- A
        A.close connected
        --
      `,
    },
    'readwrite: in and a hang-up': {
      both: `
        A.read connected
        A is connected, addr HOST:PORT, a descriptor
      `,
    },
  },
  '`recv()` returns `b': {
    'recv when there is nothing': {
      both: `
        A.write connected
        A received nothing
        -- A
        A is connected writable, addr HOST:PORT, a descriptor
      `,
    },
    'a pass within a handler': {
      both: `
        A.read connected
        A received one
        B.read connected
        B received two
        B.read connected
        B received nothing
        -- A B
        -- A B
      `,
    },
    'a pass within a handler that has read nothing yet': {
      both: `
        A.read connected
        A.read connected
        A received onetwo
        A received nothing
        -- A
      `,
    },
    'a pipe is empty': {
      both: `
        A received nothing
        A is connected, addr none, a descriptor
      `,
    },
  },
  'A peer that resets its connection before': {
    'a caller who has reset before he is accepted': {
      both: `
        L.accept accepting
        L.accepted accepting HOST:PORT
        A is connected readable, addr HOST:PORT, a descriptor
        -- L A
        A.read connected
        A.close connected
        A received nothing
        -- L
      `,
    },
  },
  '`EMFILE` on accept closes': {
    'an accept without a descriptor': {
      both: String.raw`
        L.accept accepting
        L.error accepting EMFILE
        stdout "error: uncaptured exception, keeping channel <Channel listening HOST:PORT at 0x…> (EMFILE [traceback])\n"
        -- L
        L.accept accepting
        L.accepted accepting HOST:PORT
        -- L
      `,
    },
  },
  '`close()` inside `handle_connect`': {
    'close in handleConnect': {
      both: `
        A.connect connecting
        --
        A is readable writable, addr HOST:PORT, no descriptor
      `,
    },
    'close in handleConnect, within connect': {
      both: `
        A.connect connecting
        A is readable writable, addr 'PATH/path1', no descriptor
        --
      `,
    },
  },
  'An exception in `handle_accepted`': {
    'handleAccepted raises': {
      both: String.raw`
        L.accept accepting
        L.accepted accepting HOST:PORT
        L.error accepting oops
        stdout "error: uncaptured exception, keeping channel <Channel listening HOST:PORT at 0x…> (Scripted:oops [traceback])\n"
        -- L
        L is accepting readable, addr HOST:PORT, a descriptor
      `,
    },
  },
  'An exception in a predicate, or in `handle_error`': {
    'handleClose always raises': {
      both: String.raw`
        A.read connected
        A.error connected first
        stdout "error: uncaptured exception, closing channel <Channel connected HOST:PORT at 0x…> (Scripted:first [traceback])\n"
        A.close connected
        warning ASYNCORE_HANDLE_ERROR
        --
        A is readable, addr HOST:PORT, no descriptor
      `,
    },
    'handleError raises': {
      both: `
        A.read connected
        A.error connected first
        warning ASYNCORE_HANDLE_ERROR
        --
        A is readable, addr HOST:PORT, no descriptor
      `,
    },
    'readable() raises': {
      both: String.raw`
        A.error connected oops
        stdout "error: uncaptured exception, closing channel <Channel connected '' at 0x…> (Scripted:oops [traceback])\n"
        A.close connected
        B.read connected
        B received two
        B.write connected
        -- B
      `,
    },
    'writable() raises': {
      both: String.raw`
        A.error connected oops
        stdout "error: uncaptured exception, closing channel <Channel connected '' at 0x…> (Scripted:oops [traceback])\n"
        A.close connected
        B.read connected
        B received two
        B.write connected
        -- B
      `,
    },
  },
  '`<__repr__(self) failed': {
    'the repr raises while an error is told': {
      both: String.raw`
        A.read connected
        A.error connected oops
        stdout "error: uncaptured exception, closing channel <toString() failed for object at 0x…> (Scripted:oops [traceback])\n"
        A.close connected
        --
        A is readable, addr HOST:PORT, no descriptor
      `,
    },
  },
  '`close()` inside a predicate': {
    'readable() closes its channel': {
      select: `
        B.read connected
        B received two
        B.write connected
        -- B
      `,
    },
    'readable() closes another channel': {
      select: `
        B.read connected
        -- B
      `,
    },
    'readable() closes a channel that has not been asked yet': {
      select: `
        A.read connected
        A received one
        -- A
      `,
    },
    'writable() closes its channel': {
      select: `
        B.read connected
        B received two
        B.write connected
        -- B
      `,
    },
    'writable() closes another channel': {
      select: `
        B.read connected
        -- B
      `,
    },
    'writable() closes a channel that has not been asked yet': {
      select: `
        A.read connected
        A received one
        -- A
      `,
    },
  },
  'A descriptor closed behind its channel': {
    'a socket is closed behind the back of its channel': {
      select: `
        A.close connected
        B.read connected
        B received two
        B.write connected
        -- B
        A is readable writable, addr '', no descriptor
        B.write connected
        -- B
      `,
    },
  },
  'A timeout under 1 ms': {
    'a timeout under a millisecond': {
      poll: `
        waited
        -- A
      `,
    },
  },
  'A negative timeout': {
    'a negative timeout': {
      both: `
        the loop threw ERR_OUT_OF_RANGE
        -- A
      `,
    },
  },
  '`sending b': {
    'buffered: the debug log': {
      both: String.raw`
        stdout "info: sending \"hello\"\n"
        p got hello
      `,
    },
  },
  '`dispatcher_with_send.send` returns': {
    'buffered: what send returns': {
      both: `
        A sent 5
        p got hello
      `,
    },
  },
  'an IPv6 or Unix address prints': {
    'repr: IPv6': {
      both: `
        <Channel listening [::1]:PORT at 0x…>
      `,
    },
    'repr: IPv6, connected': {
      both: `
        <Channel connected [::1]:PORT at 0x…>
      `,
    },
  },
  '`handle_close` that sends to a dead peer': {
    'handleClose sends a farewell to a dead peer': {
      both: `
        A.read connected
        A.close connected
        A sent 0
        A received nothing
        A is readable, addr '', no descriptor
      `,
    },
  },
};
