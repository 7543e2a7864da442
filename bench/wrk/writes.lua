-- POST of a service whose name is new each time: wrk -s writes.lua URL -- FILE_WITH_A_BODY FIRST_NUMBER
-- The body has the word NUMBER where a number of twelve digits goes.
local before, after, number

function init(arguments)
  local file = io.open(arguments[1])
  local body = file:read("*a")
  file:close()
  number = tonumber(arguments[2])
  body = body:gsub("NUMBER", string.format("%012d", 0), 1)
  local whole = wrk.format("POST", "/service", { ["Content-Type"] = "application/json" }, body)
  local first, last = whole:find("000000000000", 1, true)
  before, after = whole:sub(1, first - 1), whole:sub(last + 1)
end

function request()
  number = number + 1
  return before .. string.format("%012d", number) .. after
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("result: requests %d microseconds %d failed %d bytes %d p50 %d p99 %d\n", summary.requests,
    summary.duration, errors.status + errors.connect + errors.read + errors.write + errors.timeout, summary.bytes,
    latency:percentile(50), latency:percentile(99)))
end
