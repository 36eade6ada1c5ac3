//! What runs inside the server: each script is one atomic step.

use std::sync::OnceLock;

use redis::Script;

/// All scripts, with their hashes.
pub(super) struct Scripts {
    pub(super) insert: Script,
    pub(super) look_up: Script,
    pub(super) replace: Script,
    pub(super) tally: Script,
    pub(super) give_back: Script,
    pub(super) guess: Script,
    pub(super) accept: Script,
}

impl Scripts {
    /// Computed once: they are constants.
    pub(super) fn shared() -> &'static Self {
        static SHARED: OnceLock<Scripts> = OnceLock::new();
        SHARED.get_or_init(|| {
            let script = |parts: &[&str]| Script::new(&[&[NOW], parts].concat().concat());
            Self {
                insert: script(&[INSERT]),
                look_up: script(&[ALIVE, LOOK_UP]),
                replace: script(&[ALIVE, REPLACE]),
                tally: script(&[BUDGETS, TALLY]),
                give_back: script(&[BUDGETS, GIVE_BACK]),
                guess: script(&[BUDGETS, ALIVE, GUESS]),
                accept: script(&[BUDGETS, ALIVE, ACCEPT]),
            }
        })
    }
}

/// Milliseconds of the server's clock.
const NOW: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
";

/// `KEYS[1]` the challenge; `ARGV` record, generation, tries, issued, lifetime. In the hash: `r` record, `g`
/// generation, `l` limit of tries, `n` tries spent, `i` issued by the node's clock, `f` lifetime, `a` made at and `e`
/// ends at by ours, `u` used.
const INSERT: &str = r"
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'r', ARGV[1], 'g', ARGV[2], 'l', ARGV[3], 'i', ARGV[4], 'f', ARGV[5],
    'a', string.format('%.0f', now), 'e', string.format('%.0f', now + ARGV[5]), 'n', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[5] + 60000)
return 1
";

/// Whether a challenge that was made at `a` and ends at `e` lives: not after its end, and not long before
/// its beginning, which is where a clock that was set back would be.
const ALIVE: &str = r"
local function alive(a, e)
    return now < tonumber(e) and now + 5000 >= tonumber(a)
end
";

/// `KEYS[1]` the challenge. Gives record, issued, lifetime, or nothing.
const LOOK_UP: &str = r"
local r = redis.call('HMGET', KEYS[1], 'r', 'a', 'e', 'u', 'i', 'f')
if not r[1] or r[4] or not alive(r[2], r[3]) then return nil end
return {r[1], r[5], r[6]}
";

/// `KEYS[1]` the challenge; `ARGV` the generation to replace, the new one, the new record. The beginning, the end
/// and the count stay.
const REPLACE: &str = r"
local r = redis.call('HMGET', KEYS[1], 'g', 'a', 'e', 'u')
if not r[1] or r[4] or tonumber(r[1]) ~= tonumber(ARGV[1]) or not alive(r[2], r[3]) then return 0 end
redis.call('HSET', KEYS[1], 'g', ARGV[2], 'r', ARGV[3])
return 1
";

/// Budgets as in `throttle/state.rs`. A value holds three moments at which the rules are full again, the row, and
/// the last moment; it expires when it says no more than an absent one.
const BUDGETS: &str = r"
local argument = 0
local function next_argument()
    argument = argument + 1
    return tonumber(ARGV[argument])
end
local function read_rules()
    local b = {n = next_argument(), limit = next_argument(), pause = next_argument(), interval = {}, capacity = {}}
    for i = 1, b.n do
        b.interval[i] = next_argument()
        b.capacity[i] = next_argument()
    end
    return b
end
local function load(key, b)
    local s = {0, 0, 0, 0, 0}
    local stored = redis.call('GET', key)
    if stored then
        local one, two, three, row, last = string.match(stored, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
        s = {tonumber(one), tonumber(two), tonumber(three), tonumber(row), tonumber(last)}
    end
    for i = 1, b.n do
        s[i] = math.min(math.max(s[i], now), now + b.capacity[i])
    end
    s[5] = math.min(s[5], now)
    if b.limit == 0 or s[5] + b.pause <= now then s[4] = 0 end
    return s
end
local function wait(s, b)
    local longest = 0
    for i = 1, b.n do
        longest = math.max(longest, s[i] + b.interval[i] - now - b.capacity[i])
    end
    if b.limit > 0 and s[4] >= b.limit then
        longest = math.max(longest, s[5] + b.pause - now)
    end
    return longest
end
local function save(key, s, b)
    local ends = 0
    for i = 1, b.n do ends = math.max(ends, s[i]) end
    if s[4] > 0 then ends = math.max(ends, s[5] + b.pause) end
    if ends <= now then
        redis.call('DEL', key)
    else
        redis.call('SET', key, string.format('%.0f %.0f %.0f %.0f %.0f', s[1], s[2], s[3], s[4], s[5]),
            'PXAT', string.format('%.0f', ends))
    end
end
local function advance(key, s, b)
    for i = 1, b.n do s[i] = s[i] + b.interval[i] end
    if b.limit > 0 then
        s[4] = s[4] + 1
        s[5] = now
    end
    save(key, s, b)
end
local function give_back(key, b, succeeded)
    local s = load(key, b)
    for i = 1, b.n do s[i] = math.max(s[i] - b.interval[i], 0) end
    if succeeded then s[4] = 0 else s[4] = math.max(s[4] - 1, 0) end
    save(key, s, b)
end
";

/// `KEYS` the budgets; `ARGV` for each its rules and whether to take. Gives for each how long to wait, up to
/// the first that has nothing to take.
const TALLY: &str = r"
local waits = {}
for k = 1, #KEYS do
    local b = read_rules()
    local takes = next_argument() == 1
    local s = load(KEYS[k], b)
    waits[k] = wait(s, b)
    if takes then
        if waits[k] > 0 then return waits end
        advance(KEYS[k], s, b)
    end
end
return waits
";

/// `KEYS[1]` the budget; `ARGV` its rules and whether it was a success.
const GIVE_BACK: &str = r"
local b = read_rules()
give_back(KEYS[1], b, next_argument() == 1)
return nil
";

/// `KEYS` budgets, then the challenge; `ARGV` the rules of each. Gives number, record, issued and lifetime; or
/// which budget has nothing, from 0; or -1 exhausted, -2 used, -3 expired, -4 unknown. Nothing is written
/// unless a try is granted.
const GUESS: &str = r"
local rules, states = {}, {}
for k = 1, #KEYS - 1 do
    rules[k] = read_rules()
    states[k] = load(KEYS[k], rules[k])
    if wait(states[k], rules[k]) > 0 then return k - 1 end
end
local key = KEYS[#KEYS]
local r = redis.call('HMGET', key, 'r', 'a', 'e', 'u', 'n', 'l', 'i', 'f')
if not r[1] then return -4 end
if r[4] then return -2 end
if not alive(r[2], r[3]) then return -3 end
if tonumber(r[5]) >= tonumber(r[6]) then return -1 end
local number = redis.call('HINCRBY', key, 'n', 1)
for k = 1, #KEYS - 1 do advance(KEYS[k], states[k], rules[k]) end
return {number, r[1], r[7], r[8]}
";

/// `KEYS` budgets, then the challenge; `ARGV` the rules of each, then the generation. Uses the code up, and
/// returns to the budgets what the try took.
const ACCEPT: &str = r"
local rules = {}
for k = 1, #KEYS - 1 do rules[k] = read_rules() end
local key = KEYS[#KEYS]
local r = redis.call('HMGET', key, 'g', 'a', 'e', 'u')
if not r[1] or r[4] or tonumber(r[1]) ~= next_argument() or not alive(r[2], r[3]) then return 0 end
redis.call('HSET', key, 'u', 1)
for k = 1, #KEYS - 1 do give_back(KEYS[k], rules[k], true) end
return 1
";
