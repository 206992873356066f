-- What wrk sends: the call named by BENCH_CALL, with rooms and people as bench/sql/rooms.sql names them.
--
-- Draws are numbered 0, 1, 2, … over all threads of a run, beginning with BENCH_FIRST. Draw k is for the room
-- FIRST_ROOM + k * 7919 % ROOMS (near ones are not drawn one behind the other) and for the person at the place
-- BASE + k / ROOMS, so that no two draws are for the same person in the same room.
--
-- A call of several steps makes them one after the other for the same person. One thread for each connection keeps that
-- order.

local function number(name) return tonumber(os.getenv("BENCH_" .. name)) end

local first, rooms, first_room, base = number("FIRST"), number("ROOMS"), number("FIRST_ROOM"), number("BASE")
local people, users, threads, page = number("PEOPLE"), number("USERS"), number("THREADS"), number("PAGE")
local app = "/" .. os.getenv("BENCH_APP")

wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN")
wrk.headers["Content-Type"] = "application/json"

local function user(room, place) return ("u%d"):format((room * 7919 + place) % users + 1) end
local function at(room, path) return ("%s/chatrooms/r%d%s"):format(app, room, path) end
local function drawn_user(room, k) return user(room, base + math.floor(k / rooms) % people) end
local function drawn_room(k) return first_room + k * 7919 % rooms end
local function some_room() return first_room + math.random(0, rooms - 1) end

-- Each step takes the room and the number of the draw.
local function add(room, k) return wrk.format("POST", at(room, "/users/" .. drawn_user(room, k))) end
local function remove(room, k) return wrk.format("DELETE", at(room, "/users/" .. drawn_user(room, k))) end
local function block(room, k) return wrk.format("POST", at(room, "/blocks/users/" .. drawn_user(room, k))) end
local function unblock(room, k) return wrk.format("DELETE", at(room, "/blocks/users/" .. drawn_user(room, k))) end
local function unmute(room, k) return wrk.format("DELETE", at(room, "/mute/" .. drawn_user(room, k))) end
local function mute_of(room, name)
  return wrk.format("POST", at(room, "/mute"), nil, ('{"usernames":["%s"],"mute_duration":86400000}'):format(name))
end
local function mute(room, k) return mute_of(room, drawn_user(room, k)) end

local function add_60(room, k)
  local names, place = {}, base + 60 * math.floor(k / rooms)
  for i = 0, 59 do names[i + 1] = user(room, place + i) end
  return wrk.format("POST", at(room, "/users"), nil, '{"usernames":["' .. table.concat(names, '","') .. '"]}')
end

-- Reads draw by chance: any room, any member of it.
local function speak()
  local room = some_room()
  return wrk.format("GET", at(room, "/users/" .. user(room, math.random(0, people - 1)) .. "/speak"))
end

local function list(size, number_of_page)
  return function()
    return wrk.format("GET", at(some_room(), ("/users?pagenum=%d&pagesize=%d"):format(number_of_page, size)))
  end
end

local function slice() return wrk.format("GET", at(some_room(), "/users?version=v3&limit=50")) end
local function all_rooms() return wrk.format("GET", app .. "/chatrooms?limit=50") end
local function joined() return wrk.format("GET", ("%s/users/u%d/joined_chatrooms"):format(app, math.random(users))) end
local function feed() return wrk.format("GET", app .. "/events?limit=10") end
local function fixed() return wrk.format("GET", "/healthz") end

-- Ten draws of a day: eight reads, two changes. Those who are added come from the places behind BASE; of the members at
-- the beginning, the first half is removed one by one, and the second half muted by chance.
local first_page = list(50, 1)
local function mix(_, k)
  local ten, place, room = math.floor(k / 10), k % 10, drawn_room(math.floor(k / 10))
  if place < 5 then return speak() end
  if place < 7 then return first_page() end
  if place == 7 then return joined() end
  if place == 8 then return add(room, ten) end
  local round, half = math.floor(ten / rooms), math.floor(people / 2)
  if ten % 2 == 0 and round < half - 1 then
    return wrk.format("DELETE", at(room, "/users/" .. user(room, 1 + round)))
  end
  return mute_of(room, user(room, math.random(half, people - 1)))
end

local calls = {
  fixed = { fixed }, speak = { speak }, list_500 = { list(500, 1) }, page_1 = { list(1000, 1) },
  page_deep = { list(1000, page) }, first_50 = { list(50, 1) }, middle_50 = { list(50, page) }, slice_50 = { slice },
  all_rooms = { all_rooms }, joined = { joined }, feed = { feed },
  add = { add }, add_60 = { add_60 }, remove = { remove }, mute = { mute }, unmute = { unmute }, block = { block },
  unblock = { unblock }, mix = { mix },
  add_remove = { add, remove }, mute_unmute = { mute, unmute }, add_block_unblock = { add, block, unblock },
}
local steps = calls[os.getenv("BENCH_CALL")]

local all_threads = {}
function setup(thread)
  thread:set("id", #all_threads)
  table.insert(all_threads, thread)
end

function init()
  math.randomseed(first * threads + id)
  sent = 0
end

-- wrk asks the first thread for one request that it only looks at.
local looked_at = false
function request()
  if id == 0 and not looked_at then
    looked_at = true
    return fixed()
  end
  local turn = math.floor(sent / #steps)
  local k, step = first + turn * threads + id, steps[sent % #steps + 1]
  sent = sent + 1
  return step(drawn_room(k), k)
end

-- One line for the program that has started wrk: requests, microseconds, errors, p50, p99, mean, draws used up.
function done(summary, latency)
  local errors, most = summary.errors, 0
  for _, thread in ipairs(all_threads) do most = math.max(most, thread:get("sent")) end
  print(("measured %d %d %d %d %d %d %d"):format(
    summary.requests, summary.duration, errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.mean, math.ceil(most / #steps) * threads))
end
