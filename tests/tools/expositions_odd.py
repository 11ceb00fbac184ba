"""Reports that no bridge should send: each has one oddity, or a few, among the statistics of a good one.

Written as text, not as Python values, because much of what is odd (a key that comes twice, a number beyond every range, half a
surrogate pair) exists in JSON text only.
"""

import json


def deep(depth, inner="1"):
    return '{"a":' * depth + inner + "}" * depth


# name -> members to add to a good report, or to put in the place of its members of the same key.
MEMBERS = {
    # Numbers that another release sends in another form.
    "float for an integer": {"participants": "14.5", "threads": "163.0", "total_bytes_sent": "1.5e3"},
    "exponents": {"stress_level": "1.4E-4", "bit_rate_upload": "1.2345678E7", "total_bytes_received": "1E3", "threads": "1e-320"},
    "integer for a float": {"stress_level": "1", "rtt_aggregate": "52", "incoming_loss": "0"},
    "numbers in strings": {
        "participants": '"14"', "stress_level": '" 0.5 "', "total_bytes_sent": '"257628359021"', "rtt_aggregate": '"52.5"',
    },
    "decimal comma": {"bit_rate_download": '"689,0096"', "cpu_usage": '"0,1506"', "rtp_loss": '"0,00299"', "threads": '"163,0"'},
    "comma and point": {"bit_rate_download": '"1.689,5"', "bit_rate_upload": '"1,689.5"', "cpu_usage": '"1,689,5"'},
    "words for numbers": {
        "stress_level": '"NaN"', "rtt_aggregate": '"Infinity"', "jitter_aggregate": '"-Infinity"', "threads": '"nan"',
        "participants": '"inf"', "conferences": '"Inf"',
    },
    "words for counters": {
        "total_bytes_sent": '"NaN"', "total_bytes_received": '"Infinity"', "total_ice_failed": '"-Infinity"',
        "total_video_stream_milliseconds_received": '"NaN"',
    },
    "strings that are not numbers": {
        "participants": '""', "threads": '" "', "conferences": '"-"', "stress_level": '"1e"', "rtt_aggregate": '"0x10"',
        "visitors": '"1_000"', "endpoints": '"many"', "local_endpoints": '"\\u0661"', "total_bytes_sent": '"12 MB"', "drain": '""',
    },
    "null everywhere": {
        "participants": "null", "total_bytes_sent": "null", "healthy": "null", "version": "null", "current_timestamp": "null",
        "conference_sizes": "null", "tossedPacketsEnergy": "null", "unheard_of": "null", "rtt_aggregate": "null",
    },
    "negative counters": {
        "total_bytes_sent": "-1", "total_ice_failed": "-0.5", "total_conference_seconds": '"-3"', "preemptive_kfr_sent": "-9223372036854775808",
        "endpoints_disconnected": "-1e300",
    },
    "negative gauges": {"stress_level": "-1.1", "participants": "-3", "rtt_aggregate": "-1", "bit_rate_upload": "-8", "octo_send_bitrate": "-4"},
    "minus zero": {"participants": "-0", "stress_level": "-0.0", "total_bytes_sent": "-0.0", "total_ice_failed": "-0"},
    "2^53 and one": {"participants": "9007199254740993", "total_bytes_sent": "9007199254740993", "unheard_of": "9007199254740993"},
    "2^63": {
        "participants": "9223372036854775808", "total_bytes_sent": "9223372036854775807", "unheard_of": "9223372036854775808",
        "total_bytes_received": "9223372036854775808",
    },
    "2^64 - 1": {
        "participants": "18446744073709551615", "total_bytes_sent": "18446744073709551615", "unheard_of": "18446744073709551615",
        "bit_rate_upload": "18446744073709551615", "rtt_aggregate": "18446744073709551615", "used_memory": "18446744073709551615",
        "octo_send_bitrate": "18446744073709551615", "total_video_stream_milliseconds_received": "18446744073709551615",
    },
    "2^64 and beyond": {
        "participants": "18446744073709551616", "total_bytes_sent": "18446744073709551616", "unheard_of": "99999999999999999999999",
        "threads": '"18446744073709551616"',
    },
    "-2^63 and below": {"participants": "-9223372036854775808", "threads": "-9223372036854775809", "unheard_of": "-9223372036854775808"},
    "1e400": {"participants": "1e400", "total_bytes_sent": "1e400", "unheard_of": "-1e400", "healthy": "1e400", "threads": '"1e400"'},
    "1e308 and a unit": {"bit_rate_upload": "1e308", "used_memory": "1.7e308", "rtt_aggregate": "1e308", "octo_send_bitrate": "1e308"},
    "very small": {"rtt_aggregate": "5e-324", "stress_level": "5e-324", "octo_send_bitrate": "4e-324", "unheard_of": "1e-400"},
    "many digits": {"stress_level": "0.1234567890123456789012345678901234567890", "unheard_of": "1" * 300, "threads": "1" * 400},
    "divided, not multiplied": {"rtt_aggregate": "3", "jitter_aggregate": "7.1", "total_video_stream_milliseconds_received": "1001"},
    # Values of another type.
    "booleans for numbers": {"participants": "true", "total_bytes_sent": "false", "rtt_aggregate": "true"},
    "numbers for booleans": {"healthy": "1", "drain": "0", "graceful_shutdown": "2", "shutting_down": "-1", "colibri2": "1.0"},
    "strings for booleans": {"healthy": '"true"', "drain": '"false"', "graceful_shutdown": '"1"', "shutting_down": '"yes"', "colibri2": '"TRUE"'},
    "empty objects": {"participants": "{}", "version": "{}", "healthy": "{}", "conference_sizes": "{}", "unheard_of": "{}", "current_timestamp": "{}"},
    "objects for numbers": {"participants": '{"now":3}', "total_bytes_sent": '{"udp":1,"tcp":2}'},
    "arrays for numbers": {"participants": "[3]", "total_bytes_sent": "[]", "healthy": "[true]", "version": '["2"]', "current_timestamp": "[]"},
    "numbers for strings": {"version": "2", "release": "1042", "current_timestamp": "1787211010030"},
    "booleans for strings": {"version": "true", "region": "false"},
    "a date that does not exist": {"current_timestamp": '"2026-02-30 00:00:00.000"'},
    "a time with a T": {"current_timestamp": '"2026-08-20T07:30:10.030Z"'},
    "an empty time": {"current_timestamp": '""'},
    "a leap day": {"current_timestamp": '"2024-02-29 23:59:59.999"'},
    # Distributions.
    "an empty array in a string": {"conference_sizes": '"[]"'},
    "an array in a string": {"conference_sizes": '"[0, 1, 2]"', "conferences_by_audio_senders": '"[1"', "conferences_by_video_senders": '"1,2"'},
    "empty arrays": {"conference_sizes": "[]", "conferences_by_audio_senders": "[ ]"},
    "arrays of one": {"conference_sizes": "[7]", "conferences_by_audio_senders": "[0]"},
    "arrays of floats": {"conference_sizes": "[0.0,1.0,2e0]", "conferences_by_audio_senders": "[0.5]"},
    "arrays of strings": {"conference_sizes": '["0","1","2"]', "conferences_by_audio_senders": '["many"]'},
    "arrays with null": {"conference_sizes": "[0,null,2]", "conferences_by_audio_senders": "[[0],1]", "conferences_by_video_senders": "[true]"},
    "arrays with negatives": {"conference_sizes": "[0,-1,2]"},
    "arrays beyond 64 bits": {"conference_sizes": "[18446744073709551615,1]", "conferences_by_audio_senders": "[0,0,9223372036854775808]"},
    "arrays at the limit": {
        "conference_sizes": "[" + ",".join(["1"] * 1024) + "]", "conferences_by_audio_senders": "[" + ",".join(["1"] * 1025) + "]",
    },
    "huge arrays": {"conference_sizes": "[" + ",".join(["1"] * 3000) + "]", "unheard_of": "[" + ",".join(["0"] * 20000) + "]"},
    "a histogram": {
        "tossedPacketsEnergy": '{"average":null,"max":0,"total_value":0,"total_count":0,"buckets":{"> 119":0,"<= 7":0,"<= 15":0,"p99<=":-1,"p999<=":-1}}',
    },
    "a histogram out of step": {
        "tossedPacketsEnergy": '{"average":1.5,"max":9,"total_value":30.5,"total_count":7,"buckets":{"<= 15":4,"<= 7":3,"> 119":2}}',
    },
    "a histogram without its end": {"tossedPacketsEnergy": '{"total_value":1,"total_count":1,"buckets":{"<= 7":1}}'},
    "a histogram with a negative count": {"tossedPacketsEnergy": '{"total_value":1,"total_count":1,"buckets":{"<= 7":-1,"> 7":2}}'},
    "a histogram with strings": {"tossedPacketsEnergy": '{"total_value":"33,5","total_count":"2","buckets":{"<= 7":"1","> 7":"1"}}'},
    "a number for a histogram": {"tossedPacketsEnergy": "41.25"},
    # The bridge's own metrics.
    "native keys beside others": {
        "thread_count": "5", "incoming_bitrate": "2942921", "ice_failed_total": "3", "jvm_gc_time": "1001", "startup_time": "1795462049366",
        "current_endpoints": "9", "cpu_steal": '"0,5"', "xmpp_disconnects_total": "-1", "drain_mode": '"true"',
    },
    "native keys where others are odd": {"threads": "null", "thread_count": "5", "endpoints": "{}", "current_endpoints": "9"},
    "an object beside the other key": {"endpoints_ice_failed": "7", "endpoints_ice_failed_total": '{"":0,"A":0}'},
    "a shared key that is odd": {"endpoints": "null", "participants": "7", "current_endpoints": "[]"},
    "a shared key that has become several": {"current_endpoints": '{"local":1,"relayed":2}'},
    "buckets": {
        "conferences_by_size": '{"bucket_le_1.0":1.0,"bucket_le_0.0":0.0,"bucket_le_+Inf":3.0,"count":3.0,"sum":17.0,"created":1.7E9}',
        "tossed_packets_energy": '{"bucket_le_7.0":1.0,"bucket_le_+Inf":3.0,"count":3.0,"sum":17.5}',
        "conferences_by_audio_sender": '{"bucket_le_5.0":1,"bucket_le_+Inf":1,"count":"1","sum":3}',
    },
    "buckets that fall": {
        "conferences_by_size": '{"bucket_le_0.0":4,"bucket_le_1.0":3,"bucket_le_+Inf":4,"count":4,"sum":1}',
        "tossed_packets_energy": '{"bucket_le_0.0":4,"bucket_le_1.0":3,"bucket_le_+Inf":4,"count":4,"sum":1}',
    },
    "buckets without an end": {
        "conferences_by_size": '{"bucket_le_0.0":4,"count":4,"sum":1}', "tossed_packets_energy": '{"count":4,"sum":1}',
    },
    "buckets with odd bounds": {
        "conferences_by_size": '{"bucket_le_x":4,"bucket_le_+Inf":4,"count":4,"sum":1}',
        "conferences_by_video_sender": '{"bucket_le_1":4,"bucket_le_1.0":4,"bucket_le_+Inf":4,"count":4,"sum":1}',
        "tossed_packets_energy": '{"bucket_le_NaN":4,"bucket_le_+Inf":4,"count":4,"sum":1}',
    },
    "buckets that contradict the count or have no sum": {
        "conferences_by_size": '{"bucket_le_0.0":4,"bucket_le_+Inf":4,"count":5,"sum":1}',
        "conferences_by_video_sender": '{"bucket_le_0.0":4,"bucket_le_+Inf":4,"count":4}',
        "tossed_packets_energy": '{"bucket_le_0.0":4,"bucket_le_+Inf":4,"count":4,"sum":-1}',
    },
    # Strings that go into labels.
    "quotes and backslashes": {"version": '"2.1 \\"x\\" \\\\ \\\\n"', "region": '"\\\\"', "relay_id": '"\\""'},
    "newlines": {"version": '"2.1\\nnext"', "region": '"a\\r\\nb"', "release": '"\\n"', "relay_id": '"\\u2028\\u0085"'},
    "control characters": {"version": '"\\u0000\\u0001\\u001b[31m\\u007f"', "region": '"\\t"'},
    "unicode": {"version": '"2.1 \\ud83d\\ude00"', "region": '"Köln, 東京"', "release": '"\\u202e"'},
    "half surrogate pairs": {"version": '"2.1 \\ud83d"', "region": '"\\ude00\\ud83d"', "unheard_of": '"\\ud800"'},
    "empty strings": {"version": '""', "region": '""', "release": '""', "relay_id": '""'},
    "null for every string": {"version": "null", "region": "null", "release": "null", "relay_id": "null"},
    "what looks like a line": {"version": '"} 1\\n# EOF\\njitsi_up 0\\n"', "region": '"# TYPE jitsi_up counter"'},
    "a long string": {"version": '"' + "x" * 60000 + '"'},
    # Keys of no release.
    "unknown": {"new_gauge": "1", "new_float": "0.25", "new_switch": "true", "new_text": '"7"', "new_array": "[1]", "new_null": "null"},
    "keys that are not names": {
        "with-dash": "1", "with space": "2", "with.dot": "3", "schlüssel": "4", "鍵": "5", "1st": "6", "a:b": "7", "😀": "8", "a\\\\b": "9",
        'quo\\"te': "10", "new\\nline": "11", "tab\\t": "12", "nul\\u0000": "13", "{le=\\\"1\\\"}": "14", "# EOF": "15",
    },
    "an empty key": {"": "1"},
    "keys of underscores": {"_": "1", "__": "2", "__name__": "3"},
    "capitals": {"Participants": "1", "PARTICIPANTS": "2", "camelCase": "3"},
    "keys that end in one name": {"a-b": "1", "a_b": "2", "a b": "3", "a": '{"b":4}', "a.b": "null"},
    "spaces around known keys": {" participants": "1", "participants ": "2", "conference-sizes": "3", "total-ice-failed": "4"},
    "half a surrogate pair in a key": {"k\\ud83d": "5", "\\ude00": "6", "\\ud83dx": "null"},
    "long keys": {"k" * 20000: "1", "k" * 200: "2", "k" * 201: "3", "é" * 100: "4", "é" * 101: "5", "o" * 195: '{"abcd":6,"abcde":7}'},
    "nested": {"outer": '{"inner":1,"more":{"deep":2.5,"yes":true,"text":"x","list":[1],"none":null},"empty":{}}', "outer_inner": "9"},
    "nested, with duplicates": {"outer": '{"n":1,"n":2,"n":{"m":3},"n":4}'},
    "nested names that clash": {"ice": '{"failed":1}', "conference": '{"sizes":{"bucket":2}}', "up": '{"":3}'},
    "many unknown keys": {f"unheard_of_{i}": str(i) for i in range(1024)},
    "too many unknown keys": {f"unheard_of_{i}": str(i) for i in range(3000)},
    "types as keys": {"foo_total": "1", "foo": "2", "foo_info": "3", "foo_bucket": "4", "foo_count": "5", "foo_sum": "6", "foo_created": "7", "foo_gcount": "8"},
    # Names that are taken.
    "our names": {
        "up": "0", "scrape_error": "1", "scrape_duration_seconds": "2", "unexposed_values": "3", "exporter_build_info": "4",
        "exporter_build": "5", "bridge": "6", "bridge_info": "7",
    },
    "names of counters": {
        "participants_created_total": "1", "participants_created": "2", "ice_failed": "3", "ice_failed_total": "4", "ice_failed_created": "5",
        "participants_created_created": "6", "sent_bytes": "7", "sent_bytes_total": "8",
    },
    "names of distributions": {
        "conference_sizes": "[0,1,2]",
        "conference_sizes_bucket": "1", "conference_sizes_gcount": "2", "conference_sizes_gsum": "3", "conference_sizes_count": "4",
        "conference_sizes_sum": "5", "conference_sizes_created": "6", "conference_sizes_total": "7",
        "tossedPacketsEnergy": '{"total_value":1,"buckets":{"<= 7":1,"> 7":2}}', "tossed_packets_energy": "1", "tossed_packets_energy_count": "2",
        "tossedPacketsEnergy_sum": "3", "tossedPacketsEnergy_bucket": "4",
    },
    "names of what is converted": {
        "rtt_aggregate_seconds": "1", "download_bytes_per_second": "2", "report_timestamp_seconds": "3", "machine_memory_bytes": "4",
    },
    "names of labels": {"version_info": "1", "region_info": "2", "version_": "3", "bridge_info_total": "4"},
    "both names of one counter": {"total_conferences": "7", "total_conferences_completed": "9"},
    "both names of one counter, one odd": {"total_conferences": "7", "total_conferences_completed": "null"},
    "names in another place": {"jitsi_up": "0", "jitsi": '{"up":0}', "jitsi_participants": "3"},
}

# name -> members at the end of a good report, so that known keys come twice.
BEHIND = {
    "known keys twice": '"participants":7,"version":"second","healthy":false',
    "a good value, then an odd one": '"participants":null,"version":[],"total_bytes_sent":"x"',
    "unknown keys twice": '"unheard_of":1,"unheard_of":2,"\\u0075nheard_of":3',
    "keys with escapes": '"\\u0070articipants":42,"total\\u005fbytes_sent":43',
    "deep nesting": f'"unheard_of":{deep(200)},"participants":{deep(100)}',
    "deep arrays": f'"unheard_of":{"[" * 200}{"]" * 200}',
    "nesting at the limit": f'"unheard_of":{deep(16)},"unheard":{deep(17)}',
}

# name -> the whole response of the bridge.
WHOLE = {
    "an empty object": b"{}",
    "an empty object with room": b" {\n} ",
    "null": b"null",
    "true": b"true",
    "a number": b"17",
    "a string": b'"participants"',
    "an empty array": b"[]",
    "an array of one empty object": b"[{}]",
    "an array of two": b'[{"participants":1},{"participants":2}]',
    "an array of one array": b'[[{"participants":1}]]',
    "an array of one object": b'[{"participants":1,"version":"2.0"}]',
    "one number": b'{"participants":14}',
    "labels alone": b'{"version":"2.3","region":"eu"}',
    "what is not a bridge": b'{"name":"JVB","version":"2.3.312","os":"Linux"}',
    "one native number": b'{"thread_count":14}',
    "both sources": b'{"threads":3,"thread_count":4,"bit_rate_download":1,"incoming_bitrate":2000,"jvm_heap_used":5}',
    "one unknown number": b'{"unheard_of":14}',
    "one null": b'{"participants":null}',
    "nothing": b"",
    "white space": b" \n",
    "half an object": b'{"participants":14,',
    "half a string": b'{"version":"2.',
    "a comma too many": b'{"participants":14,}',
    "bytes behind it": b'{"participants":14}x',
    "a second document": b'{"participants":14}{"participants":15}',
    "bare NaN": b'{"participants":NaN,"threads":3}',
    "bare Infinity": b'{"participants":-Infinity}',
    "leading zeros": b'{"participants":014}',
    "a leading plus": b'{"participants":+14}',
    "single quotes": b"{'participants':14}",
    "a comment": b'{"participants":14 /* now */}',
    "a control character": b'{"version":"a\nb"}',
    "invalid UTF-8": b'{"version":"\xff\xfe","participants":1}',
    "UTF-8 of half a surrogate pair": b'{"version":"\xed\xa0\x80","participants":1}',
    "UTF-16": '{"participants":14}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"participants":14}',
    "an HTML page": b"<html><body>404 Not Found</body></html>",
    "a NUL behind it": b'{"participants":14}\0',
}


# The end of the names of reports whose odd members come first.
IN_FRONT = ", in front"


def quoted(key):
    return f'"{key}"'


def documents(good):
    """All of them, as (name, bytes); `good` is the report of a bridge."""
    members = {key: json.dumps(value) for key, value in json.loads(good).items()}

    def body(members, behind=""):
        pairs = [f"{quoted(key)}:{value}" for key, value in members.items()] + ([behind] if behind else [])
        return ("{" + ",".join(pairs) + "}").encode()

    for name, odd in MEMBERS.items():
        yield name, body(members | odd)
        # The same with the odd members first: the order in a report has no meaning.
        if len(odd) > 1:
            yield f"{name}{IN_FRONT}", body({**odd, **{key: value for key, value in members.items() if key not in odd}})
    for name, behind in BEHIND.items():
        yield name, body(members, behind)
    yield from WHOLE.items()
