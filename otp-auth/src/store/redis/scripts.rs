//! What runs inside the server: each script is one atomic step.
//!
//! The interpreter costs more than the commands, so values are packed (`struct`) and not parsed: a challenge
//! is one string, of which a try changes one byte; a budget is five numbers; its rules come as eight.

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
    /// A guess without budgets.
    pub(super) reserve: Script,
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
                look_up: script(&[LOOK_UP]),
                replace: script(&[REPLACE]),
                tally: script(&[SETTLE, TAKE, TALLY]),
                give_back: script(&[SETTLE, RETURN, GIVE_BACK]),
                guess: script(&[SETTLE, TAKE, GUESS]),
                reserve: script(&[GUESS]),
                accept: script(&[SETTLE, RETURN, ACCEPT]),
            }
        })
    }
}

/// Milliseconds of the server's clock.
const NOW: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
";

/// `KEYS[1]` the challenge; `ARGV` tries, issued, lifetime, generation, record. The value: tries spent, whether used,
/// limit of tries (a byte each); made at and ends at by the server's clock, issued by the node's, lifetime,
/// generation (a double each); the record from byte 44.
const INSERT: &str = r"
local value = struct.pack('>BBBddddd', 0, 0, ARGV[1], now, now + ARGV[3], ARGV[2], ARGV[3], ARGV[4]) .. ARGV[5]
if redis.call('SET', KEYS[1], value, 'NX', 'PX', ARGV[3] + 60000) then return 1 end
return 0
";

/// `KEYS[1]` the challenge. Gives record, issued, lifetime, or nothing. Alive is what has not ended, and was not made
/// in the future, where a clock that was set back would have it.
const LOOK_UP: &str = r"
local value = redis.call('GET', KEYS[1])
if not value then return nil end
local spent, used, limit, made, ends, issued, lifetime = struct.unpack('>BBBddddd', value)
if used == 1 or spent >= limit or now >= ends or now + 5000 < made then return nil end
return {string.sub(value, 44), issued, lifetime}
";

/// `KEYS[1]` the challenge; `ARGV` the generation to replace, the new one, the new record. The beginning, the end
/// and the count stay.
const REPLACE: &str = r"
local value = redis.call('GET', KEYS[1])
if not value then return 0 end
local spent, used, limit, made, ends, issued, lifetime, generation = struct.unpack('>BBBddddd', value)
if used == 1 or now >= ends or now + 5000 < made or generation ~= tonumber(ARGV[1]) then return 0 end
value = struct.pack('>BBBddddd', spent, used, limit, made, ends, issued, lifetime, ARGV[2]) .. ARGV[3]
redis.call('SET', KEYS[1], value, 'KEEPTTL')
return 1
";

/// Budgets as in `throttle/state.rs`. A value holds three moments at which the rules are full again, the row, and
/// the last moment; it expires when it says no more than an absent one. Rules are interval and capacity of
/// three, zeros for those that are not there, then limit and pause of a row.
const SETTLE: &str = r"
local pack, unpack_struct = struct.pack, struct.unpack
local function settle(value, rules)
    local i1, c1, i2, c2, i3, c3, limit, pause = unpack_struct('>dddddddd', rules)
    local f1, f2, f3, row, last = now, now, now, 0, 0
    if value then f1, f2, f3, row, last = unpack_struct('>ddddd', value) end
    local wait = 0
    if f1 < now then f1 = now elseif f1 > now + c1 then f1 = now + c1 end
    if f1 + i1 - now - c1 > wait then wait = f1 + i1 - now - c1 end
    if c2 > 0 then
        if f2 < now then f2 = now elseif f2 > now + c2 then f2 = now + c2 end
        if f2 + i2 - now - c2 > wait then wait = f2 + i2 - now - c2 end
    end
    if c3 > 0 then
        if f3 < now then f3 = now elseif f3 > now + c3 then f3 = now + c3 end
        if f3 + i3 - now - c3 > wait then wait = f3 + i3 - now - c3 end
    end
    if limit > 0 then
        if last > now then last = now end
        if last + pause <= now then row = 0 end
        if row >= limit and last + pause - now > wait then wait = last + pause - now end
    end
    return wait, f1, f2, f3, row, last, i1, i2, i3, limit, pause
end
local function ends(f1, f2, f3, row, last, pause)
    local at = f1
    if f2 > at then at = f2 end
    if f3 > at then at = f3 end
    if row > 0 and last + pause > at then at = last + pause end
    return at
end
";

/// What a value is after one was taken, and when that ends; or how long to wait.
const TAKE: &str = r"
local function take(value, rules)
    local wait, f1, f2, f3, row, last, i1, i2, i3, limit, pause = settle(value, rules)
    if wait > 0 then return wait end
    if limit > 0 then row, last = row + 1, now end
    f1, f2, f3 = f1 + i1, f2 + i2, f3 + i3
    return 0, pack('>ddddd', f1, f2, f3, row, last), ends(f1, f2, f3, row, last, pause)
end
";

/// Returns what was taken.
const RETURN: &str = r"
local function give_back(key, value, rules)
    local _, f1, f2, f3, row, last, i1, i2, i3, _, pause = settle(value, rules)
    if row > 0 then row = row - 1 end
    f1, f2, f3 = f1 - i1, f2 - i2, f3 - i3
    local at = ends(f1, f2, f3, row, last, pause)
    if at <= now then
        redis.call('DEL', key)
    else
        redis.call('SET', key, pack('>ddddd', f1, f2, f3, row, last), 'PXAT', at)
    end
end
";

/// `KEYS` the budgets; `ARGV` for each its rules, then for each a digit: 0 to look, 1 to take, 2 to take together
/// with the rest. Gives for each how long to wait, up to the first that has nothing to take.
const TALLY: &str = r"
local values, waits = redis.call('MGET', unpack(KEYS)), {}
local together, left, at = #KEYS + 1, {}, {}
for k = 1, #KEYS do
    local kind = string.byte(ARGV[#KEYS + 1], k)
    if kind == 48 then
        waits[k] = (settle(values[k], ARGV[k]))
    else
        waits[k], left[k], at[k] = take(values[k], ARGV[k])
        if waits[k] > 0 then return waits end
        if kind == 49 then
            redis.call('SET', KEYS[k], left[k], 'PXAT', at[k])
        elseif together > k then
            together = k
        end
    end
end
for k = together, #KEYS do redis.call('SET', KEYS[k], left[k], 'PXAT', at[k]) end
return waits
";

/// `KEYS[1]` the budget; `ARGV` its rules.
const GIVE_BACK: &str = r"
give_back(KEYS[1], redis.call('GET', KEYS[1]), ARGV[1])
return nil
";

/// `KEYS` budgets, then the challenge; `ARGV` the rules of each. Gives number, record, issued and lifetime; or
/// which budget has nothing, from 0; or -1 exhausted, -2 used, -3 expired, -4 unknown. Nothing is written
/// unless a try is granted, and nothing to budgets if it is free of charge: byte 45, the record's second, is 2 or more.
const GUESS: &str = r"
local count = #KEYS - 1
local values = redis.call('MGET', unpack(KEYS))
local left, at = {}, {}
for k = 1, count do
    local wait
    wait, left[k], at[k] = take(values[k], ARGV[k])
    if wait > 0 then return k - 1 end
end
local value = values[count + 1]
if not value then return -4 end
local spent, used, limit, made, ends, issued, lifetime = struct.unpack('>BBBddddd', value)
if used == 1 then return -2 end
if now >= ends or now + 5000 < made then return -3 end
if spent >= limit then return -1 end
redis.call('SETRANGE', KEYS[count + 1], 0, string.char(spent + 1))
if string.byte(value, 45) < 2 then
    for k = 1, count do redis.call('SET', KEYS[k], left[k], 'PXAT', at[k]) end
end
return {spent + 1, string.sub(value, 44), issued, lifetime}
";

/// `KEYS` budgets, then the challenge; `ARGV` the rules of each, then the generation. Uses the code up, and
/// returns to the budgets what the try took.
const ACCEPT: &str = r"
local count = #KEYS - 1
local values = redis.call('MGET', unpack(KEYS))
local value = values[count + 1]
if not value then return 0 end
local _, used, _, made, ends, _, _, generation = struct.unpack('>BBBddddd', value)
if used == 1 or now >= ends or now + 5000 < made or generation ~= tonumber(ARGV[count + 1]) then return 0 end
redis.call('SETRANGE', KEYS[count + 1], 1, string.char(1))
for k = 1, count do give_back(KEYS[k], values[k], ARGV[k]) end
return 1
";
