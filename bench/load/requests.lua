-- wrk sends the list of requests:  wrk … -s requests.lua http://HOST:PORT -- requests.txt
-- Everything is built before the first request; then a call returns the next text.

local texts = {}
local count = 0
local at = 0
local threads = 0

-- Threads of one run begin at different places.
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  local file = args[1] or "requests.txt"
  for line in io.lines(file) do
    local path, user, role, org, agent, ip =
      line:match("^(/[^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)$")
    if not path then error(file .. ": not a list of requests") end
    count = count + 1
    texts[count] = "GET " .. path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"]
      .. "\r\nx-user-id: " .. user .. "\r\nx-user-role: " .. role .. "\r\nx-org-id: " .. org
      .. "\r\nuser-agent: " .. agent .. "\r\naccept: */*\r\nx-forwarded-for: " .. ip .. "\r\n\r\n"
  end
  at = (number * 7919) % count
end

function request()
  at = at + 1
  if at > count then at = 1 end
  return texts[at]
end

-- One JSON line at the end, for programs.
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"bytes":%d,"errors":%d,"p50_us":%d,"p90_us":%d,"p99_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
