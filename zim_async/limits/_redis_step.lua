--[[ One step of one process on the shared quota of one action: what ended, what is wanted, what is granted.

The quota is one sorted set. All times are Redis's own, in microseconds. Its members and their scores:

  lease:PERMIT   a permit booked or in use, until that time at the latest
  back:PERMIT    a permit that was used, and is free again from that time on
  want:PROCESS   a process that waits: how many interactive calls, or, below zero, how many bulk calls
  turn:PROCESS   when the last permit that it was granted was due
  visit:PROCESS  when it was told to ask again
  pace           when the next bulk permit is due
  epoch:RUN      when the set was made, by the server of that run; nothing is granted in the period after it
  mark           the last step

1. A set without a mark, or with one that can't be, was lost, and one of another run of the server may be an old
   copy. A new one begins, and permits that may be in use somewhere are over within its first period. A process that
   learns of a new epoch tells what it holds.
2. What has ended is told first: "back" in so many microseconds. A permit that was never used is free again from
   the time that it was booked for, and no earlier.
3. Permits are dealt in the order in which they come free, each to the process that waits and was served the longest
   ago. Interactive calls go first, but for every tenth permit. All processes deal alike, so that each sees the
   same permits as its own.
4. This process takes those dealt to it that are free within its horizon. One for an interactive call it may book
   AHEAD. It learns when the next one comes free, and asks again then. The others stay with whom they were dealt to.
5. But a permit that is free now isn't kept for a process that was told to ask later, nor for long for one that
   didn't ask as told. Who is very late leaves the line.
6. Bulk permits are spaced by PACE slots, whoever they go to. ]]

local KEPT_FOR = 20000   -- a permit for a process that is late
local PATIENCE = 100000  -- after which a process that didn't ask as told leaves the line
local PACE = 0.95
local AHEAD = 100000     -- beyond the horizon
local TENTH = 9          -- slots without a bulk permit, after which one is due before the interactive ones
local UNKNOWN = 1.04     -- slots in which a permit comes back of which nothing is known yet
local KEPT = 86400000    -- milliseconds, for which an unused set is kept

local key = KEYS[1]
local process, seen = ARGV[1], tonumber(ARGV[2])
local size, period, slot = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local horizon, lease = tonumber(ARGV[6]), tonumber(ARGV[7])
local granted_at = tonumber(ARGV[8])  -- when the last permit granted was due
local interactive, bulk = tonumber(ARGV[9]), tonumber(ARGV[10])
local serial = tonumber(ARGV[11])  -- of the first permit granted
local TOLD = 12                    -- from here on: kind, permit, microseconds; kind, permit, ...

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- Read. A key of another type fails here, before anything is written.
local kinds = {lease = {}, back = {}, want = {}, turn = {}, visit = {}, epoch = {}}
local single = {}
local members = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
for i = 1, #members, 2 do
  local kind, name = string.match(members[i], '^(%a+):(.*)$')
  if kinds[kind] then
    kinds[kind][name] = tonumber(members[i + 1])
  else
    single[members[i]] = tonumber(members[i + 1])
  end
end
local leases, back = kinds.lease, kinds.back

local changed, removed = {}, {}
local function set(kind, name, score)
  kinds[kind][name] = score
  changed[kind .. ':' .. name] = score
  removed[kind .. ':' .. name] = nil
end
local function remove(kind, name)
  if kinds[kind][name] then
    kinds[kind][name] = nil
    changed[kind .. ':' .. name] = nil
    removed[kind .. ':' .. name] = true
  end
end

-- The first write is one that a full Redis permits. Those after it then pass too, and they free more than they take.
redis.call('PEXPIRE', key, KEPT)
local info = redis.pcall('INFO', 'server') -- not everybody has the right to it
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
if not single.mark or not kinds.epoch[run] or single.mark < seen or single.mark > now then
  redis.call('DEL', key)
  leases, back = {}, {}
  kinds = {lease = leases, back = back, want = {}, turn = {}, visit = {}, epoch = {}}
  single = {}
  set('epoch', run, now)
end
changed.mark = now
local epoch = kinds.epoch[run]
local opens = math.max(now, epoch + period)

-- What ended, is still in use, or was never used.
for i = TOLD, #ARGV, 3 do
  local kind, permit, at = ARGV[i], ARGV[i + 1], now + tonumber(ARGV[i + 2])
  if kind == 'lease' then
    set('lease', permit, at)
  elseif kind == 'back' then
    remove('lease', permit)
    set('back', permit, at)
  elseif leases[permit] then -- "unused", if it was granted at all
    set('back', permit, leases[permit] - lease)
    remove('lease', permit)
  end
end

-- What is due comes free.
local in_use, free_at = 0, {}
for permit, at in pairs(leases) do
  if at <= now then remove('lease', permit) else in_use = in_use + 1 end
end
for permit, at in pairs(back) do
  if at <= now then remove('back', permit) else free_at[#free_at + 1] = {at, permit} end
end
table.sort(free_at, function(a, b) return a[1] < b[1] end)
-- With fewer permits than before, the first to come back only make good the excess.
local free = size - in_use - #free_at
local supply = {}
for _ = 1, free do supply[#supply + 1] = {opens} end
for i = 1 + math.max(0, -free), #free_at do
  supply[#supply + 1] = {math.max(opens, free_at[i][1]), free_at[i][2]}
end

-- The line, in which this process may stand twice.
local line = {}
local function leave(name)
  remove('want', name)
  remove('turn', name)
  remove('visit', name)
end
leave(process)
for other, visit in pairs(kinds.visit) do
  local want, turn = kinds.want[other], kinds.turn[other]
  if want and turn and visit + PATIENCE >= now then
    line[#line + 1] = {name = other, want = math.abs(want), bulk = want < 0, turn = turn, visit = visit}
  else
    leave(other)
  end
end
local others = #line
for _, want in ipairs({interactive, -bulk}) do
  if want ~= 0 then
    line[#line + 1] = {name = process, want = math.abs(want), bulk = want < 0, turn = math.min(granted_at, now + period)}
  end
end

single.pace = math.min(single.pace or 0, now + period)
local pace = single.pace
local function first_in_line(at)
  local bulk_first, first = pace + TENTH * slot <= at, nil
  for _, waiting in ipairs(line) do
    local since = now - (waiting.visit or now)
    local here = waiting.name == process or at > now or (since >= 0 and since <= KEPT_FOR)
    if waiting.want > 0 and here then
      if not first then
        first = waiting
      elseif waiting.bulk ~= first.bulk then
        if waiting.bulk == bulk_first then first = waiting end
      elseif waiting.turn < first.turn or (waiting.turn == first.turn and waiting.name < first.name) then
        first = waiting
      end
    end
  end
  return first
end

-- Deal. Beyond the permits known to come back, others are taken to follow slot by slot.
local granted = {[false] = {}, [true] = {}} -- microseconds to wait, by whether it is for a bulk call
local dealt, asks_at = 0, nil
local last_at = #supply > 0 and supply[#supply][1] or opens
while interactive + bulk > 0 do
  dealt = dealt + 1
  local known = supply[dealt]
  local at = known and known[1] or last_at + (dealt - #supply) * slot * UNKNOWN
  local to = first_in_line(at)
  to.want, to.turn = to.want - 1, at
  if to.bulk then
    at = math.max(at, pace)
    pace = at + PACE * slot
  end
  if to.name == process then
    local reach = horizon
    if not to.bulk and #granted[false] == 0 and opens == now then reach = reach + AHEAD end
    if not known or at > now + reach then
      asks_at = math.min(at, now + period)
      break
    end
    if known[2] then remove('back', known[2]) end
    granted_at = at
    table.insert(granted[to.bulk], at - now)
    if to.bulk then
      bulk = bulk - 1
      single.pace = math.max(single.pace, known[1]) + PACE * slot
      changed.pace = single.pace
    else
      interactive = interactive - 1
    end
  end
end
local waits = {}
for _, for_bulk in ipairs({false, true}) do
  for _, wait in ipairs(granted[for_bulk]) do
    set('lease', process .. '-' .. serial + #waits, now + wait + lease)
    waits[#waits + 1] = wait
  end
end
if asks_at then
  set('want', process, interactive > 0 and interactive or -bulk)
  set('turn', process, granted_at)
  set('visit', process, asks_at)
end

-- Write.
local arguments = {}
local function flush(command, least)
  if #arguments > least then
    redis.call(command, key, unpack(arguments))
    arguments = {}
  end
end
for member in pairs(removed) do
  arguments[#arguments + 1] = member
  flush('ZREM', 1000)
end
flush('ZREM', 0)
for member, score in pairs(changed) do
  arguments[#arguments + 1] = string.format('%.0f', score)
  arguments[#arguments + 1] = member
  flush('ZADD', 1000)
end
flush('ZADD', 0)
if epoch == now then redis.call('PEXPIRE', key, KEPT) end -- there was no set yet the first time

local reply = {now, epoch, others + (asks_at and 1 or 0), asks_at and asks_at - now or -1, #granted[false]}
for _, wait in ipairs(waits) do reply[#reply + 1] = wait end
return reply
