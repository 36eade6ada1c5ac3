//! Every bound of the crate, with its reason. What happens at a bound stands beside it.

use std::time::Duration;

/// A whole message on the control stream before registration. Registrations are about 600 bytes;
/// a longer one ends the stream.
pub const RPC_MESSAGE_BYTES_ANONYMOUS: usize = 64 * 1024;

/// A whole message on the control stream of a registered connection: a connector reports its
/// local configuration there. A longer one ends the stream.
pub const RPC_MESSAGE_BYTES: usize = 1024 * 1024;

/// The local configuration that a connector reports: what fits into one message of [`RPC_MESSAGE_BYTES`] with
/// what is around it.
pub const TOLD_CONFIGURATION_BYTES: usize = RPC_MESSAGE_BYTES - 1024;

/// Segments in one Cap'n Proto message. cloudflared sends one; the crate's own default is 512.
pub const RPC_SEGMENTS: usize = 64;

/// How often over a message may be read, in its own lengths. Pointers can name the same bytes many
/// times; an honest message is read once, and once more to echo it. More is unreadable.
pub const RPC_TRAVERSALS: usize = 4;

/// Pointers within pointers in one Cap'n Proto message. A registration has six. Deeper ones, and
/// circles, are unreadable.
pub const RPC_NESTING: i32 = 32;

/// Questions that a connector may leave unfinished. cloudflared has two at most.
pub const RPC_QUESTIONS: usize = 64;

/// Answers queued for a connector that does not read. More ends the stream.
pub const RPC_OUTPUT_BYTES: usize = 1024 * 1024;

/// From the end of TLS to a registration, on both ends. cloudflared gives up after 5 s; then the
/// connection ends, so that nobody holds one without a name.
pub const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that one source address may make at once, and the time after which it may make one more:
/// 25 connectors behind one address come back together, and a cloudflared that dials 17,000 times a
/// second gets ten handshakes in it. Settable in [`Admission`](crate::edge::Admission), as all
/// bounds of a source are. More are refused before TLS.
pub const SOURCE_CONNECTIONS: (u32, Duration) = (100, Duration::from_millis(100));

/// Registrations of one source address that may fail at once, and the time after which one more may: a
/// wrong token is seen at once, and guessing a secret gets 29,000 tries a day. More are refused
/// before TLS.
pub const SOURCE_FAILURES: (u32, Duration) = (20, Duration::from_secs(3));

/// How long a source may owe for what it has used up: a burst times the time for one more. A year is far
/// beyond what anybody wants, and far from what a clock can't count.
pub const SOURCE_MEMORY: Duration = Duration::from_secs(365 * 86_400);

/// Connections of one source address that have not registered, at once: each costs some 100 kB
/// until [`REGISTER_TIMEOUT`]. More are refused before TLS.
pub const SOURCE_UNREGISTERED: u32 = 100;

/// Connections of all addresses that have not registered, at once. More are refused before TLS.
pub const UNREGISTERED: u32 = 2_000;

/// Registered connections of one tunnel at one edge: 64 connectors of four, twice as many as cloudflared's
/// own edge takes of one tunnel. Settable in [`Acceptor`](crate::edge::Acceptor), as the next. One more is
/// refused at registration, and may try again.
pub const TUNNEL_CONNECTIONS: usize = 256;

/// Registered connections of all tunnels at one edge: some 40 kB each while they are quiet, so 800 MB. One
/// more is refused at registration with `EDUPCONN`, which sends it to another edge.
pub const CONNECTIONS: usize = 20_000;

/// Source addresses remembered, some 80 bytes each. Those that owe nothing make room for others; if
/// all owe, strangers are refused before TLS.
pub const SOURCES: usize = 65_536;

/// Places of names taken out of the router that are kept for their return, some 250 bytes each: more than
/// one operator takes in and out in turn. Beyond it, the oldest is given up.
pub const EMPTY_ROUTES: usize = 1_024;

/// From one search of a full table of sources for those that owe nothing to the next: it goes through
/// all, and strangers must not make it happen for each.
pub const SOURCES_REST: Duration = Duration::from_secs(1);

/// How long a refused connector may take to read why, before the edge hangs up: hanging up at once would
/// lose what is on its way to it.
pub const REFUSAL_LINGER: Duration = Duration::from_millis(500);

/// An origin's header list as one serialized value, with what is around it: as much as cloudflared lets
/// through. A longer one becomes an error of that stream.
pub const RESPONSE_HEADER_LIST_BYTES: u32 = 1024 * 1024;

/// A visitor's header list, and trailers in either direction: as much as the largest public edge takes. An
/// edge refuses more as the caller's fault, and a connector's HTTP/2 answers 431.
pub const REQUEST_HEADER_LIST_BYTES: u32 = 128 * 1024;

/// What is left of both for what stands beside the fields: pseudo-headers, and the marks that edge nodes put on
/// what they pass on. Lists are weighed before they are sent, as they would arrive.
pub const HEADER_LIST_RESERVE_BYTES: usize = 1024;

/// Headers of one response after unpacking. More is a peer's fault: `http::HeaderMap` holds
/// 32,768 at most.
pub const HEADER_COUNT: usize = 8_192;

/// Headers of one response of an HTTP/1.1 origin. hyper's own 100 are fewer than some applications have
/// cookies and links to set; it makes room for all of them for each response, 64 bytes a header. More
/// is an origin that broke off.
#[cfg(feature = "http-origin")]
pub const ORIGIN_HEADERS: usize = 1_000;

/// Flow-control window of one stream, cloudflared's own: 21 MB/s at 50 ms. What a reader who stops
/// reading leaves lying here. It shrinks while more than four streams of a connection hold
/// [`LADEN_BYTES`].
pub const STREAM_WINDOW: u32 = 1024 * 1024;

/// What the windows of all streams that hold [`LADEN_BYTES`] add up to, unless there are so many that
/// each has only [`STREAM_WINDOW_LEAST`]: 84 MB/s at 50 ms for each connection, and what a crowd of readers
/// who stop reading leaves lying here, beside what was on its way.
pub const STREAM_WINDOWS_BYTES: u32 = 4 * 1024 * 1024;

/// The least window of a stream: HTTP/2's own default, rounded up.
pub const STREAM_WINDOW_LEAST: u32 = 64 * 1024;

/// Flow-control window of a connection, and the most that its bodies can make us hold for readers who
/// have not come for it (some half more with small frames): 250 MB/s at 100 ms. Senders wait beyond it;
/// [`HELD_BYTES`] keeps it from filling up.
pub const CONNECTION_WINDOW: u32 = 24 * 1024 * 1024;

/// What the bodies of a connection share for readers who have not come for it. Whoever has more than
/// an equal share gets no more until it is read; if more is held all the same, the body whose reader
/// has stopped longest is reset. Half of the window, so that the others always have the rest.
pub const HELD_BYTES: usize = CONNECTION_WINDOW as usize / 2;

/// What a body holds before windows are made smaller for it: more than a message of a WebSocket or an
/// event stream on its way, less than the least window.
pub const LADEN_BYTES: usize = 16 * 1024;

/// The smallest share: a frame or two, or a slow reader would wait for each.
pub const HELD_SHARE_BYTES: usize = 64 * 1024;

/// How long a reader may take nothing before its body can be reset to make room: a visitor's network may
/// be away for a second, and two are not yet a stop.
pub const STALL_GRACE: Duration = Duration::from_secs(2);

/// How long a visitor may take nothing of what lies there for him while his connection is short of
/// room: more than half of [`HELD_BYTES`] is held, or more than half of its streams are taken. Then bodies
/// are reset, the longest stalled first, until it is not. Not for WebSockets and TCP: a terminal may be
/// stopped for hours.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The same while there is room for everybody, unless [set](crate::edge::Acceptor::stall_patience): a film may be
/// stopped for a meal.
pub const STALL_PATIENCE: Duration = Duration::from_secs(60 * 60);

/// A body that is whole when its head is looked at, and not longer than this, waits for its reader
/// without a task, an account or a time limit: its stream is over, and its room is given back at once.
pub const SHORT_BODY_BYTES: usize = 8 * 1024;

/// What such bodies of one connection may take until they are dropped: as much as the others. Beyond it, one more
/// is kept like a long one.
pub const SHORT_BODIES_BYTES: usize = HELD_BYTES;

/// Small unread DATA frames that a connection may hold, in bytes charged by `h2` (256 less the
/// frame's length for each); beyond it `h2` ends the connection. Bodies are taken
/// out at once (`net::spill`), so this is room for what arrives in one turn of the scheduler: 128 reads
/// of 16 KiB, in frames of one byte, are charged 53 MB.
pub const DATA_FRAME_BUDGET: usize = 64 * 1024 * 1024;

/// Largest DATA frame we take and send. Larger ones are slower and delay other streams.
pub const FRAME_BYTES: u32 = 64 * 1024;

/// Unsent bytes that one stream may hold; then its source is not read any further. As much as a quick
/// peer takes in a round trip of a millisecond or two.
pub const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Requests that the edge may have open on one connection. More wait, then fail as busy.
pub const CONCURRENT_STREAMS: u32 = 1_000;

/// How long a request waits for a free stream before it fails as busy: a visitor waits no longer for a page
/// that does not begin.
pub const STREAM_WAIT: Duration = Duration::from_secs(10);

/// Requests that wait for a stream of one connection. More fail as busy at once.
pub const STREAM_WAITERS: usize = 1_000;

/// How long a smaller window is kept at least before it may grow again, so that a number of streams that
/// goes up and down does not make a SETTINGS frame each time.
pub const WINDOW_REST: Duration = Duration::from_secs(1);

/// Frames kept back until a turn of the scheduler is over, so that many small ones leave in one
/// write; a full buffer is written out by the next frame. A TLS record holds 16 KiB: four of them.
pub const CORK_BYTES: usize = 64 * 1024;

/// Frames from this length on are not kept back: copying them would cost more than a write.
pub const CORK_COPY_BYTES: usize = 8 * 1024;

/// Frames of a body below this length are joined while their reader is away, because each piece costs
/// some 100 bytes beside its content; longer ones are passed on as they are.
pub const JOINED_FRAME_BYTES: usize = 1024;

/// Bytes of a WebSocket or TCP flow that are read at once, which is also what a TLS record holds. They
/// live on the stack, so a pair that waits holds none.
pub const RELAY_CHUNK_BYTES: usize = 16 * 1024;

/// Time between two questions to a peer whether it is alive: a connection that broke without a word is
/// noticed within this and [`PING_TIMEOUT`], and boxes on the way do not forget it.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How long a peer may say nothing at all after it has been asked; then the connection ends. It is longer
/// than any round trip with lost packets in it.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the answer may take of a peer that says other things meanwhile: 4 MB of a socket's buffer
/// take nine minutes at 60 kbit/s. Whoever reads nothing would else keep what waits for him for ever.
/// Then the connection ends.
pub const PONG_TIMEOUT: Duration = Duration::from_secs(600);

/// PING frames that a peer may send in a second. A peer that looks for signs of life sends one in
/// ten; more end the connection, because each is answered.
pub const PINGS_PER_SECOND: u32 = 100;

/// SETTINGS frames that a peer may send in a second. A connection has one or two in its life; more
/// end it, because each is answered.
pub const SETTINGS_PER_SECOND: u32 = 50;

/// Streams that a peer may reset in a second. All the visitors of a connection may leave at once, and
/// as many come and leave again; beyond that a reset is a way to have work done without waiting for
/// it, and the connection ends. A connector may also reset each stream that the edge opened.
pub const RESETS_PER_SECOND: u32 = 2 * CONCURRENT_STREAMS;

/// Streams that a peer may make us reset in a second, by breaking the rules on them. Frames that were
/// on their way when we reset a stream count too, which is why it is not nothing. More end the
/// connection. `h2` has a counter of its own, but over the life of a connection: it is off.
pub const PROVOKED_RESETS_PER_SECOND: u32 = 1_000;

/// Reset streams that are remembered, so that what was on its way to them is dropped without another
/// reset: those of two busy seconds.
pub const REMEMBERED_RESETS: usize = 2 * CONCURRENT_STREAMS as usize;

/// `WINDOW_UPDATE` frames that a peer may send in a second, beside one for each KiB it was sent: enough
/// for 10,000 small messages, each of which is taken on the stream and on the connection. More
/// end the connection.
pub const WINDOW_UPDATES_PER_SECOND: u32 = 20_000;

/// HEADERS frames that a connector may send in a second beside those that were asked for. More end the
/// connection.
pub const RESPONSE_HEADS_PER_SECOND: u32 = 1_000;

/// HEADERS frames that one request asks for: an answer, trailers, and `100 Continue` or early hints
/// several times.
pub const HEADS_PER_STREAM: u32 = 8;

/// Frames of kinds that a tunnel has no use for (PRIORITY, GOAWAY, unknown ones), in a second. More end
/// the connection.
pub const OTHER_FRAMES_PER_SECOND: u32 = 1_000;

/// Frames of one kind that a peer can have earned by what it was sent: those of a busy second.
pub const EARNED_FRAMES: u32 = 100_000;

/// Connections that one connector keeps: more than any edge has nodes. It is told of with one byte;
/// another number is the caller's fault.
pub const CONNECTOR_CONNECTIONS: u8 = 64;

/// How long the requests in flight may go on once a connector or an edge takes its leave, unless set:
/// cloudflared's, and what service managers wait before they kill.
pub const GRACE_PERIOD: Duration = Duration::from_secs(30);

/// First and longest wait before a lost connection is dialed again: at once would be a burst from all
/// connectors of an edge that restarts, and after a minute nobody wants to wait longer.
pub const RECONNECT_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A connection that lasted at least this long ends an outage: the wait after it is short again. One that
/// the edge drops as soon as it is registered does not.
pub const STEADY_CONNECTION: Duration = Duration::from_secs(10);

/// How long an edge may ask a connector to stay away. A longer wait is cut to it: an edge may ask for
/// patience, but not for ever.
pub const RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// Before a connector's connection is made again whose task panicked: what is wrong there is not gone in a
/// second, and the others serve meanwhile.
pub const PANIC_PAUSE: Duration = Duration::from_secs(10);

/// A TCP connection and a TLS handshake to the edge, each: as much as three lost packets cost. Then
/// another address is tried.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(15);

/// Reaching another edge node: TCP, TLS and HTTP/2 together. Nodes are near one another, and a
/// request waits meanwhile.
#[cfg(feature = "cluster")]
pub const NODE_DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a node that could not be reached is tried after all others: no request pays for its
/// absence twice, and one that restarts is back at once.
#[cfg(feature = "cluster")]
pub const NODE_REST: Duration = Duration::from_secs(2);

/// Nodes tried for one request. Then it fails with the last one's error.
#[cfg(feature = "cluster")]
pub const NODE_ATTEMPTS: usize = 3;

/// Connections kept to one other node, so that no one of them is a bottleneck. When all are full,
/// a request fails as busy.
#[cfg(feature = "cluster")]
pub const NODE_CONNECTIONS: usize = 4;

/// Requests in flight on every connection to a node before one more connection is opened: a fifth of
/// [`CONCURRENT_STREAMS`], so the next is there before one is full.
#[cfg(feature = "cluster")]
pub const NODE_BUSY_STREAMS: usize = 200;

/// Nodes that connections are kept to. Beyond it, those without a connection are forgotten.
#[cfg(feature = "cluster")]
pub const NODES: usize = 256;

/// Connections to the node listener that have not yet shown a certificate. More wait in the
/// socket's own queue.
#[cfg(feature = "cluster")]
pub const NODE_HANDSHAKES: usize = 64;

/// Nodes that are believed to hold one tunnel. A connector has four connections, and few tunnels
/// have more than a few connectors. A directory's answer is cut there.
#[cfg(feature = "cluster")]
pub const NODES_PER_TUNNEL: usize = 16;

/// A node's address as `host:port`: the longest DNS name, a colon and five digits.
#[cfg(feature = "cluster")]
pub const NODE_ADDRESS_BYTES: usize = 259;

/// How long a request waits for the directory. Healthy ones answer in a millisecond; then what is
/// remembered counts.
#[cfg(feature = "cluster")]
pub const DIRECTORY_WAIT: Duration = Duration::from_millis(500);

/// How long no request asks a directory that failed, so that one that hangs does not delay each.
#[cfg(feature = "cluster")]
pub const DIRECTORY_REST: Duration = Duration::from_secs(1);

/// How long the directory's answer is used without asking again: a busy tunnel asks once a second, and a
/// wrong answer only costs a dial.
#[cfg(feature = "cluster")]
pub const LOOKUP_FRESH: Duration = Duration::from_secs(1);

/// The same for "nobody holds it": short, so that a new tunnel is seen everywhere at once.
#[cfg(feature = "cluster")]
pub const LOOKUP_ABSENT_FRESH: Duration = Duration::from_millis(50);

/// How long an answer is used when the directory can't be asked. Wrong ones only cost a dial.
#[cfg(feature = "cluster")]
pub const LOOKUP_REMEMBERED: Duration = Duration::from_secs(600);

/// Tunnels whose nodes are remembered. Beyond it, what is not fresh is forgotten first.
#[cfg(feature = "cluster")]
pub const LOOKUP_ENTRIES: usize = 65_536;

/// The shortest lease. A shorter one is made as long: it is renewed at a third of it, and would run out with
/// any hiccup of the network.
#[cfg(feature = "cluster")]
pub const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// The longest lease that a directory takes, a hundred years: more than anybody means, and still a
/// number of milliseconds that the store can add up. A longer one is cut to it.
#[cfg(feature = "redis")]
pub const LONGEST_LEASE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How long an announcement holds unless it is renewed, which happens at a third of it. A node that
/// dies is asked in vain for as long at most.
#[cfg(feature = "cluster")]
pub const LEASE: Duration = Duration::from_secs(15);

/// Tunnels announced in one operation: about 100 kB on the wire.
#[cfg(feature = "cluster")]
pub const ANNOUNCE_BATCH: usize = 500;

/// How long one announcement may take. It delays no request.
#[cfg(feature = "cluster")]
pub const ANNOUNCE_WAIT: Duration = Duration::from_secs(5);

/// First and longest wait before an announcement that failed is made again: a restart of the store is
/// over in seconds, and a [`LEASE`] must not run out meanwhile.
#[cfg(feature = "cluster")]
pub const ANNOUNCE_RETRY: (Duration, Duration) =
    (Duration::from_millis(250), Duration::from_secs(5));

/// How long one direction of a WebSocket or TCP flow may be quiet after the other has ended. Then both
/// end: many programs never close their half.
pub const HALF_CLOSED_QUIET: Duration = Duration::from_secs(10);

/// Interim responses (1xx) of one request that are passed on. RFC 9110 sets no bound; more are
/// dropped.
pub const INTERIM_RESPONSES: usize = 16;

/// A pushed configuration with its version, in JSON, or a configuration file. A longer one is refused.
pub const CONFIGURATION_BYTES: usize = 1024 * 1024;

/// A connector's answer to a pushed configuration: a version, and why it was not taken. A longer one is
/// the connector's fault.
pub const CONFIGURATION_ANSWER_BYTES: usize = 64 * 1024;

/// How long a connector may take to apply a pushed configuration and to say so: it compiles expressions
/// and reads files meanwhile. Then the push has failed, and may be repeated.
pub const CONFIGURATION_WAIT: Duration = Duration::from_secs(30);

/// TCP connection to an address in the private network, unless set: cloudflared's
/// `warp-routing.connectTimeout`. Then the flow fails as unreachable.
pub const FLOW_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// TCP flows that a connector carries at once, unless set. cloudflared has no bound; each flow
/// holds a socket, and 1,024 is the usual limit of a process's open files.
pub const ACTIVE_FLOWS: usize = 1_000;

/// A connector's local configuration that the edge keeps for its operator. A longer one is let go:
/// with thousands of connectors, whole megabytes would add up.
pub const LOCAL_CONFIGURATION_BYTES: usize = 64 * 1024;

/// Events that wait for a slow listener. Then it misses the oldest, and is told how many.
pub const EVENTS: usize = 1_024;

/// Connecting to the directory's store, and each answer of it. Then the operation fails: healthy stores
/// answer in milliseconds.
#[cfg(feature = "redis")]
pub const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

/// First and longest wait between attempts to reach the store again: it restarts within seconds, and
/// all nodes wait for it.
#[cfg(feature = "redis")]
pub const REDIS_RECONNECT: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(1));

/// Attempts to reach the store again, before operations that wait for it fail. The next
/// operation starts anew.
#[cfg(feature = "redis")]
pub const REDIS_RETRIES: usize = 3;

/// Values in a configuration once YAML's aliases stand in full. More are refused: twenty lines of
/// aliases can name a billion.
#[cfg(feature = "ingress")]
pub const CONFIGURATION_VALUES: usize = 64 * 1024;

/// Lists and maps inside one another in a configuration. cloudflared's shape needs 6; more are
/// refused.
#[cfg(feature = "ingress")]
pub const CONFIGURATION_DEPTH: usize = 16;

/// Ingress rules. A request is held against one after another, so this bounds its time; more are
/// refused.
#[cfg(feature = "ingress")]
pub const INGRESS_RULES: usize = 4_096;

/// A rule's path as written, in bytes. A longer one is refused.
#[cfg(feature = "ingress")]
pub const PATH_PATTERN_BYTES: usize = 4_096;

/// Memory for a compiled path. An expression such as `(a{99}){99}` that needs more is refused.
#[cfg(feature = "ingress")]
pub const PATH_PATTERN_MEMORY_BYTES: usize = 256 * 1024;

/// Memory that a path's matching may fill with what it learned, in each thread at work on it: enough
/// for usual expressions. It starts anew at this bound.
#[cfg(feature = "ingress")]
pub const PATH_PATTERN_CACHE_BYTES: usize = 256 * 1024;

/// Problems told about one configuration: more than anybody reads. What follows is counted, not told.
#[cfg(feature = "ingress")]
pub const CONFIGURATION_PROBLEMS: usize = 100;

/// Characters that a message quotes of somebody's text; the rest is cut, so that a message stays a
/// line.
#[cfg(feature = "ingress")]
pub const QUOTED_CHARS: usize = 80;

/// A visitor's body of unknown length for an origin that needs a length: it is kept whole, so this
/// times the streams is memory. A longer one is answered with 411.
#[cfg(feature = "http-origin")]
pub const BUFFERED_REQUEST_BYTES: usize = 1024 * 1024;

/// Keys in an issuer's key set. Access has two or three; more are refused.
#[cfg(feature = "ingress")]
pub const ACCESS_KEYS: usize = 64;

/// An issuer's key set, in bytes. A longer one is not read to its end and counts as none.
#[cfg(feature = "ingress")]
pub const ACCESS_KEYS_BYTES: usize = 256 * 1024;

/// Fetching an issuer's keys: as long as a visitor without keys waits. Afterwards those that were there
/// go on counting, if any were.
#[cfg(feature = "ingress")]
pub const ACCESS_KEYS_TIMEOUT: Duration = Duration::from_secs(10);

/// From one fetch of an issuer's keys to the next: tokens with invented key names must not become load
/// there.
#[cfg(feature = "ingress")]
pub const ACCESS_KEYS_PAUSE: Duration = Duration::from_secs(30);

/// The age at which keys are fetched anew, while they go on counting: where visitors come all the time,
/// nobody waits for the issuer.
#[cfg(feature = "ingress")]
pub const ACCESS_KEYS_RENEW: Duration = Duration::from_secs(30 * 60);

/// How long keys count without a word from their issuer: a key that was withdrawn opens nothing after
/// this, unless the issuer can't be reached. Visitors wait for newer ones.
#[cfg(feature = "ingress")]
pub const ACCESS_KEYS_FRESH: Duration = Duration::from_secs(60 * 60);

/// How long keys are used while they can't be fetched. Afterwards nobody passes.
#[cfg(feature = "ingress")]
pub const ACCESS_KEYS_USABLE: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes of a TCP service that leave in one WebSocket message, and that are read from one at once.
/// cloudflared's clients take 16 KiB.
#[cfg(feature = "http-origin")]
pub const TCP_CHUNK_BYTES: usize = 16 * 1024;

/// Addresses of one name that a bastion tries, one after another: who names a host decides how many
/// it has, and each may take a whole timeout. The others are left out.
#[cfg(feature = "http-origin")]
pub const BASTION_ADDRESSES: usize = 8;

/// TCP connection to an origin, unless set: cloudflared's `connectTimeout`. Then the request fails as
/// timed out.
#[cfg(feature = "http-origin")]
pub const ORIGIN_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// TLS handshake with an origin, unless set: cloudflared's `tlsTimeout`. Then the request fails as
/// timed out.
#[cfg(feature = "http-origin")]
pub const ORIGIN_TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a quiet TCP connection to an origin is probed, unless set: cloudflared's
/// `tcpKeepAlive`, well below the minutes after which firewalls forget a connection.
#[cfg(feature = "http-origin")]
pub const ORIGIN_TCP_KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Idle connections kept to one origin, unless set; beyond it they are closed after use. cloudflared's
/// `keepAliveConnections` are 100, which is fewer than a busy site has visitors at once.
#[cfg(feature = "http-origin")]
pub const ORIGIN_IDLE_CONNECTIONS: usize = 1_024;

/// Hosts whose idle connections are kept for one origin that is told the request's host
/// ([`server_name_from_host`](crate::origin::HttpOriginBuilder::server_name_from_host),
/// [`http2`](crate::origin::HttpOriginBuilder::http2)): each has connections of its own, and with a rule for
/// all hosts, visitors make them up. Requests for more hosts are served, over a connection each.
#[cfg(feature = "http-origin")]
pub const ORIGIN_HOSTS: usize = 256;

/// Idle connections kept to one of [`ORIGIN_HOSTS`], unless set: with all of them, 8,192 sockets.
#[cfg(feature = "http-origin")]
pub const ORIGIN_HOST_IDLE_CONNECTIONS: usize = 32;

/// How long an idle connection to an origin is kept, unless set: cloudflared's `keepAliveTimeout`.
#[cfg(feature = "http-origin")]
pub const ORIGIN_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// From here on, how long a connection may be idle is no longer counted: a clock has an end.
pub const ORIGIN_IDLE_FOREVER: Duration = Duration::from_secs(365 * 86_400);

/// From one WebSocket PING of a TCP service to the next: boxes between visitor and edge forget a
/// connection that is quiet for a minute (cloudflared's, websocket/connection.go).
#[cfg(feature = "http-origin")]
pub const WEBSOCKET_PING_INTERVAL: Duration = Duration::from_secs(54);
