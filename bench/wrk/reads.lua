-- GET of a random path from a list: wrk -s reads.lua URL -- FILE_WITH_PATHS
local requests, count = {}, 0

function init(arguments)
  for path in io.lines(arguments[1]) do
    count = count + 1
    requests[count] = wrk.format("GET", path)
  end
  math.randomseed(1)
end

function request()
  return requests[math.random(count)]
end

-- A run in which anything but a 200 was counted is no measurement; xtask looks for this line.
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("result: requests %d microseconds %d failed %d bytes %d p50 %d p99 %d\n", summary.requests,
    summary.duration, errors.status + errors.connect + errors.read + errors.write + errors.timeout, summary.bytes,
    latency:percentile(50), latency:percentile(99)))
end
