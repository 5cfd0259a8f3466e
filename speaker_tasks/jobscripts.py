"""What is done to job records in one step, in Redis itself (Lua)."""

from __future__ import annotations

START = """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'state', 'running')
redis.call('HSETNX', KEYS[1], 'started', ARGV[1])
return 1
"""

BEGIN_WRITING = """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'writing', 1)
return 1
"""

FINISH = """
if #KEYS > 2 then redis.call('UNLINK', unpack(KEYS, 3)) end
if ARGV[7] ~= '' then
  redis.call('HDEL', ARGV[8], ARGV[7])
  redis.call('ZREM', ARGV[9], ARGV[7])
end
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
if ARGV[1] == 'canceled' and redis.call('HEXISTS', KEYS[1], 'writing') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'finished', ARGV[2], ARGV[3], ARGV[4])
local ttl, brief = unpack(redis.call('HMGET', KEYS[1], 'ttl', 'brief'))
if brief then redis.call('ZREM', ARGV[10], ARGV[11]) end
redis.call('EXPIRE', KEYS[1], brief or ttl)
redis.call('RPUSH', KEYS[2], ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[6])
return 1
"""

KEEP = """
if redis.call('HDEL', KEYS[1], 'brief') == 0 then return end
local ttl, created = unpack(redis.call('HMGET', KEYS[1], 'ttl', 'created'))
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('ZADD', KEYS[2], created, ARGV[1])
"""

RECORD = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[1], ARGV[3], 1)
redis.call('HSET', KEYS[1], 'moved', ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
"""

SUBMIT = """
local waiting = redis.call('LLEN', KEYS[1])
if waiting >= tonumber(ARGV[1]) then
  if #KEYS > 6 then redis.call('UNLINK', unpack(KEYS, 7)) end
  if ARGV[8] ~= '' then
    redis.call('RPUSH', KEYS[6], '')
    redis.call('EXPIRE', KEYS[6], 1)
  end
  return waiting
end
redis.call('HSET', KEYS[2], unpack(ARGV, 9))
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[3])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, ARGV[7])
redis.call('HSET', KEYS[4], ARGV[3], ARGV[6])
redis.call('ZADD', KEYS[5], ARGV[4], ARGV[3])
redis.call('LPUSH', KEYS[1], ARGV[2])
return false
"""
