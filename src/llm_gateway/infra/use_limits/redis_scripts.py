"""The Redis scripts of a store of use: each does all that concerns one request, atomically, by Redis' own clock.

An account has two keys. The first is a hash with its counts: `s`, `m` and `t` and the number of a cell hold the
requests of a sixtieth of a second, the requests of a second, the tokens of a second; `r` and `d` and the start of a
day hold the requests and the tokens of that day; `held` holds the tokens of open requests. The second is a sorted set
of holds, by the time at which their lease ends; a member ends with its tokens. A machine that dies renews no lease.
"""

from __future__ import annotations

from typing import Final, NamedTuple

# Seconds that a hold lasts unless it is renewed, and how often it is.
LEASE_SECONDS: Final = 30.0
RENEW_SECONDS: Final = 10.0

_COMMON = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local second_cell, minute_cell = 16667, 1000000
local two_days = 180000000
local function whole(number) return string.format('%.0f', number) end
local function give_back(counts, member)
    local tokens = string.match(member, '(%d+)$')
    if tokens ~= '0' then redis.call('HINCRBY', counts, 'held', '-' .. tokens) end
end
local function drop_expired(counts, holds)
    local ended = redis.call('ZRANGEBYSCORE', holds, '-inf', whole(now))
    for _, member in ipairs(ended) do
        give_back(counts, member)
        redis.call('ZREM', holds, member)
    end
end
"""

# ARGV: the hold's name, the microseconds of its lease, the start of the day, the microseconds left of it; then for
# each account its tokens and its limits (-1 = none) in the order of `Limits`. Returns 1 and what was taken and left,
# or 0 and the shortage that lasts longest.
_HOLD: Final = (
    _COMMON
    + """
local name, lease, today, left = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local worst = nil
local requests, tokens_left = {0, -1, 0}, {0, -1, 0}
local function short(position, limit_name, limit, used, held, amount, wait)
    if limit == 0 or amount > limit then wait = -1 end
    local severity = wait
    if wait < 0 then severity = math.huge end
    if not worst or severity > worst[1] then
        worst = {severity, {0, position, limit_name, limit, used, held, math.ceil(wait)}}
    end
end
local function show(room, limit, remaining, after)
    if room[2] < 0 or remaining < room[2] then
        room[1], room[2], room[3] = limit, math.max(remaining, 0), after
    end
end
for position = 0, #KEYS / 2 - 1 do
    local counts, holds = KEYS[position * 2 + 1], KEYS[position * 2 + 2]
    local base = 5 + position * 7
    local tokens, per_second, per_minute, per_day, tpm, tpd, most =
        tonumber(ARGV[base]), tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3]),
        tonumber(ARGV[base + 4]), tonumber(ARGV[base + 5]), tonumber(ARGV[base + 6])
    drop_expired(counts, holds)
    local stored = redis.call('HGETALL', counts)
    local held, of_day = 0, {r = 0, d = 0}
    local windows = {s = {cell = second_cell}, m = {cell = minute_cell}, t = {cell = minute_cell}}
    for _, window in pairs(windows) do
        window.sum, window.newest, window.cells = 0, math.floor(now / window.cell), {}
    end
    for at = 1, #stored, 2 do
        local field, value = stored[at], tonumber(stored[at + 1])
        local kind = string.sub(field, 1, 1)
        local window = windows[kind]
        if field == 'held' then
            held = math.max(value, 0)
        elseif window then
            local cell = tonumber(string.sub(field, 2))
            -- Later than now: the clock was set back.
            if cell <= window.newest - 61 or cell > window.newest then
                redis.call('HDEL', counts, field)
            else
                window.sum = window.sum + value
                window.cells[cell] = value
            end
        elseif string.sub(field, 2) == today then
            of_day[kind] = value
        elseif math.abs(tonumber(string.sub(field, 2)) - tonumber(today)) > two_days * 1000 then
            redis.call('HDEL', counts, field)
        end
    end
    local function until_free(window, amount)
        for cell = window.newest - 60, window.newest do
            amount = amount - (window.cells[cell] or 0)
            if amount <= 0 then return (cell + 61) * window.cell - now end
        end
        return 1000000
    end
    local function request_window(limit_name, window, limit, length)
        if limit < 0 then return end
        if window.sum >= limit then
            short(position, limit_name, limit, window.sum, 0, 1, until_free(window, window.sum + 1 - limit))
        end
        show(requests, limit, limit - window.sum - 1, length)
    end
    request_window(0, windows.s, per_second, 1000000)
    request_window(1, windows.m, per_minute, 60000000)
    if per_day >= 0 then
        if of_day.r >= per_day then short(position, 2, per_day, of_day.r, 0, 1, left) end
        show(requests, per_day, per_day - of_day.r - 1, left)
    end
    local at_least = math.max(tokens, 1)
    if tpm >= 0 then
        local sum = windows.t.sum
        if sum + held + at_least > tpm then
            local missing = sum + held + tokens - tpm
            local wait = 1000000
            if sum >= missing then wait = until_free(windows.t, missing) end
            short(position, 3, tpm, sum, held, tokens, wait)
        end
        show(tokens_left, tpm, tpm - sum - held - tokens, 60000000)
    end
    if tpd >= 0 then
        if of_day.d + held + at_least > tpd then short(position, 4, tpd, of_day.d, held, tokens, left) end
        show(tokens_left, tpd, tpd - of_day.d - held - tokens, left)
    end
    if most >= 0 then
        local open = redis.call('ZCARD', holds)
        if open >= most then short(position, 5, most, 0, open, 1, 1000000) end
    end
end
if worst then return worst[2] end
local second, minute = math.floor(now / second_cell), math.floor(now / minute_cell)
for position = 0, #KEYS / 2 - 1 do
    local counts, holds = KEYS[position * 2 + 1], KEYS[position * 2 + 2]
    local base = 5 + position * 7
    if tonumber(ARGV[base + 1]) >= 0 then redis.call('HINCRBY', counts, 's' .. whole(second), 1) end
    if tonumber(ARGV[base + 2]) >= 0 then redis.call('HINCRBY', counts, 'm' .. whole(minute), 1) end
    if tonumber(ARGV[base + 3]) >= 0 then redis.call('HINCRBY', counts, 'r' .. today, 1) end
    if tonumber(ARGV[base + 4]) >= 0 or tonumber(ARGV[base + 5]) >= 0 or tonumber(ARGV[base + 6]) >= 0 then
        redis.call('ZADD', holds, whole(now + lease), name .. ':' .. ARGV[base])
        redis.call('HINCRBY', counts, 'held', ARGV[base])
        redis.call('PEXPIRE', holds, two_days)
    end
    redis.call('PEXPIRE', counts, two_days)
end
return {1, second, minute, requests[1], requests[2], requests[3], tokens_left[1], tokens_left[2], tokens_left[3]}
"""
)

# ARGV: the tokens used (-1 = release), the cells of a second and of a minute, the start of the day; then for each
# account the hold's member ('' = none), and whether its requests by second, minute and day and its tokens by minute
# and day are counted (1 or 0).
_END: Final = (
    _COMMON
    + """
local used = tonumber(ARGV[1])
for position = 0, #KEYS / 2 - 1 do
    local counts, holds = KEYS[position * 2 + 1], KEYS[position * 2 + 2]
    local base = 5 + position * 6
    local member = ARGV[base]
    if member ~= '' and redis.call('ZREM', holds, member) == 1 then
        give_back(counts, member)
    end
    local function back(flag, field)
        if flag == '1' and redis.call('HEXISTS', counts, field) == 1 then redis.call('HINCRBY', counts, field, -1) end
    end
    if used < 0 then
        back(ARGV[base + 1], 's' .. ARGV[2])
        back(ARGV[base + 2], 'm' .. ARGV[3])
        back(ARGV[base + 3], 'r' .. ARGV[4])
    elseif used > 0 then
        if ARGV[base + 4] == '1' then
            redis.call('HINCRBY', counts, 't' .. whole(math.floor(now / minute_cell)), ARGV[1])
        end
        if ARGV[base + 5] == '1' then redis.call('HINCRBY', counts, 'd' .. ARGV[4], ARGV[1]) end
        redis.call('PEXPIRE', counts, two_days)
    end
end
return 1
"""
)

# ARGV: the microseconds of the lease, then the members of one account's holds that go on.
_RENEW: Final = (
    _COMMON
    + """
local ends = whole(now + tonumber(ARGV[1]))
for at = 2, #ARGV do redis.call('ZADD', KEYS[1], 'XX', ends, ARGV[at]) end
return 1
"""
)


class Scripts(NamedTuple):
    """The text of each script."""

    hold: str = _HOLD
    end: str = _END
    renew: str = _RENEW
