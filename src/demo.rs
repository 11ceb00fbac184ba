//! A bridge to look at, for `--demo`: a report that follows the course of a day.
//!
//! Not part of the scrape path: the exporter asks this bridge over a loopback port like any other. What it says is a function
//! of the time and of nothing else, so two looks at one moment see the same, and its counters only grow. It has every key of a
//! current bridge (a test holds it to the catalogue).

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::http::{Handler, Request, Response};

/// The sample bridge.
#[derive(Debug)]
pub struct Demo;

impl Handler for Demo {
    fn respond(&self, request: &Request) -> Response {
        match request.path() {
            "/colibri/stats" => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Response::ok("application/json", report(now.as_secs_f64()))
            }
            _ => Response::text(404, "this is the sample bridge of jitsiexporter --demo; it has /colibri/stats"),
        }
    }
}

const DAY: f64 = 86_400.0;

/// Since when the sample bridge has been running, in Unix time: Monday, 1 January 2024.
const STARTED: f64 = 1_704_067_200.0;

/// The report of the moment `now`, in Unix time: the JSON that a bridge of release 2.3-312 would send.
#[must_use]
#[expect(clippy::too_many_lines, reason = "most of it is two tables")]
pub fn report(now: f64) -> String {
    let uptime = (now - STARTED).max(0.0);
    // What has gone through the bridge since it started: an endpoint, for a second, is the measure of everything.
    let endpoint_seconds = endpoint_seconds(uptime);
    let endpoints = endpoints(now);
    let local = whole(endpoints * 0.8);
    let conferences = whole(endpoints / 3.5 + 0.999);
    let video = whole(local * 0.6);
    let audio = whole(local * 0.3 + 0.999);
    // Quality suffers a little when it is crowded, and a little at random.
    let crowd = endpoints / PEAK;
    let unrest = 1.0 + 0.3 * wave(now / 470.0) + 0.2 * wave(now / 97.0);
    let loss = (0.002 + 0.006 * crowd * crowd) * unrest;
    let download = local * 620.0 * unrest.sqrt();
    let upload = video * 1_850.0 * unrest.sqrt();

    let mut json = String::from("{");
    let mut say = |key: &str, value: f64| {
        let _ = write!(json, "\"{key}\":{value},");
    };
    for (key, value) in [
        ("conferences", conferences),
        ("endpoints", endpoints),
        ("participants", endpoints),
        ("local_endpoints", local),
        ("octo_endpoints", endpoints - local),
        ("octo_conferences", whole(conferences * 0.4)),
        ("visitors", whole(endpoints * 0.1)),
        ("largest_conference", whole(endpoints * 0.2 + 0.999)),
        ("inactive_conferences", whole(conferences * 0.15)),
        ("p2p_conferences", whole(conferences * 0.1)),
        ("inactive_endpoints", whole(endpoints * 0.08)),
        ("local_active_endpoints", whole(local * 0.92)),
        ("receive_only_endpoints", whole(local * 0.2)),
        ("endpoints_sending_audio", audio),
        ("endpoints_sending_video", video),
        ("endpoints_with_high_outgoing_loss", whole(local * loss * 4.0)),
        ("endpoints_with_suspended_sources", whole(local * 0.03 * unrest)),
        ("num_eps_oversending", whole(local * 0.02 * unrest)),
        ("threads", 60.0 + whole(endpoints * 0.3)),
        ("muc_clients_configured", 1.0),
        ("muc_clients_connected", 1.0),
        ("mucs_configured", 1.0),
        ("mucs_joined", 1.0),
        ("tcc_unmatched_feedback", whole(local * 0.5)),
        ("bit_rate_download", whole(download)),
        ("bit_rate_upload", whole(upload)),
        ("packet_rate_download", whole(download / 8.0)),
        ("packet_rate_upload", whole(upload / 8.0)),
        ("octo_receive_bitrate", whole(download * 250.0)),
        ("octo_send_bitrate", whole(download * 300.0)),
        ("octo_receive_packet_rate", whole(download / 32.0)),
        ("octo_send_packet_rate", whole(download / 26.0)),
        ("incoming_loss", loss * 0.7),
        ("outgoing_loss", loss * 1.4),
        ("overall_loss", loss),
        ("rtt_aggregate", 38.0 + 22.0 * crowd + 6.0 * (unrest - 1.0)),
        ("stress_level", 0.03 + 0.75 * crowd * unrest.sqrt()),
        ("average_participant_stress", 0.01),
    ] {
        say(key, value);
    }
    // How much of each thing comes with an hour of an endpoint's time.
    for (key, per_hour) in [
        ("total_conferences_created", 0.5),
        ("total_conferences_completed", 0.499),
        ("total_conference_seconds", 1_028.0),
        ("total_participants", 1.9),
        ("total_visitors", 0.19),
        ("total_relays", 0.05),
        ("total_ice_succeeded", 1.88),
        ("total_ice_succeeded_relayed", 0.11),
        ("total_ice_failed", 0.011),
        ("endpoints_ice_failed", 0.01),
        ("relays_ice_failed", 0.0005),
        ("dtls_failed_endpoints", 0.003),
        ("dtls_failed_relays", 0.0001),
        ("endpoints_disconnected", 0.21),
        ("endpoints_reconnected", 0.18),
        ("endpoints_with_spurious_remb", 0.002),
        ("num_eps_no_msg_transport_after_delay", 0.004),
        ("num_relays_no_msg_transport_after_delay", 0.0002),
        ("total_dominant_speaker_changes", 14.0),
        ("preemptive_kfr_sent", 9.0),
        ("preemptive_kfr_suppressed", 2.5),
        ("total_keyframes_received", 41.0),
        ("total_layering_changes_received", 17.0),
        ("total_video_stream_milliseconds_received", 2_160_000.0),
        ("total_bytes_received", 223_000_000.0),
        ("total_bytes_sent", 400_000_000.0),
        ("total_packets_received", 223_000.0),
        ("total_packets_sent", 400_000.0),
        ("total_bytes_received_octo", 90_000_000.0),
        ("total_bytes_sent_octo", 108_000_000.0),
        ("total_packets_received_octo", 90_000.0),
        ("total_packets_sent_octo", 108_000.0),
        ("total_colibri_web_socket_messages_received", 60.0),
        ("total_colibri_web_socket_messages_sent", 140.0),
        ("total_data_channel_messages_received", 0.0),
        ("total_data_channel_messages_sent", 0.0),
    ] {
        say(key, whole(endpoint_seconds / 3600.0 * per_hour));
    }
    let _ = write!(
        json,
        "\"healthy\":true,\"drain\":false,\"graceful_shutdown\":false,\"shutting_down\":false,\
         \"current_timestamp\":\"{}\",\"region\":\"demo\",\"relay_id\":\"demo-bridge\",\"release\":\"1\",\
         \"version\":\"2.3.312-demo\"}}",
        date_time(now)
    );
    json
}

/// How many endpoints there are at the busiest moment.
const PEAK: f64 = 120.0;

/// Few at four in the morning, most at four in the afternoon (UTC), and some that come and go within minutes.
fn endpoints(now: f64) -> f64 {
    let ripple = 1.0 + 0.08 * wave(now / 1_800.0) + 0.05 * wave(now / 420.0);
    whole(PEAK / 1.13 * day_curve(now) * ripple).max(1.0)
}

/// From 0.05 to 1, in the course of a day.
fn day_curve(now: f64) -> f64 {
    0.525 + 0.475 * wave((now / DAY) - MORNING)
}

/// The part of a day at which the day curve is halfway up.
const MORNING: f64 = 10.0 / 24.0;

/// The area under the day curve since the bridge started. An integral in closed form never goes back, whatever is asked when.
fn endpoint_seconds(uptime: f64) -> f64 {
    let area = |t: f64| 0.525 * t + 0.475 * DAY * area_of_wave((t / DAY) - MORNING);
    PEAK / 1.13 * (area(uptime) - area(0.0))
}

/// Like a sine of period 1, of two parabolas: the sine itself would pull in a mathematical library of 300 KB of memory, for a
/// demonstration.
fn wave(phase: f64) -> f64 {
    let phase = phase - whole(phase);
    if phase < 0.5 { 16.0 * phase * (0.5 - phase) } else { -16.0 * (phase - 0.5) * (1.0 - phase) }
}

/// The area under the wave from 0 to `phase`. Each half of it has a third, and the halves cancel out.
fn area_of_wave(phase: f64) -> f64 {
    let phase = phase - whole(phase);
    let area = |p: f64| 4.0 * p * p - 16.0 / 3.0 * p * p * p;
    if phase < 0.5 { area(phase) } else { area(0.5) - area(phase - 0.5) }
}

/// The largest whole number below.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "far from the ends of 53 bits")]
fn whole(number: f64) -> f64 {
    let truncated = number as i64 as f64;
    if truncated > number { truncated - 1.0 } else { truncated }
}

/// The format of a bridge: `yyyy-MM-dd HH:mm:ss.SSS`, in UTC.
fn date_time(now: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "the present is far from the end of 64 bits")]
    let milliseconds = (now * 1000.0) as i64;
    let (days, of_day) = (milliseconds.div_euclid(86_400_000), milliseconds.rem_euclid(86_400_000));
    // Years begin in March here, so that the leap day is the last of them; see RFC 3339, appendix B, for the idea.
    let since_march_0000 = days + 719_468;
    let era = since_march_0000.div_euclid(146_097);
    let day_of_era = since_march_0000.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, millisecond) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millisecond:03}")
}

#[cfg(test)]
mod tests {
    use super::date_time;

    #[test]
    fn days_at_the_edges_of_months_years_and_centuries() {
        for (now, text) in [
            (0.0, "1970-01-01 00:00:00.000"),
            (68_169_600.0, "1972-02-29 00:00:00.000"),
            (946_598_400.0, "1999-12-31 00:00:00.000"),
            (951_696_000.0, "2000-02-28 00:00:00.000"),
            (951_782_400.0, "2000-02-29 00:00:00.000"),
            (951_868_800.0, "2000-03-01 00:00:00.000"),
            (1_830_211_200.0, "2027-12-31 00:00:00.000"),
            (1_835_395_200.0, "2028-02-29 00:00:00.000"),
            (1_835_481_600.0, "2028-03-01 00:00:00.000"),
            (4_102_358_400.0, "2099-12-31 00:00:00.000"),
            (4_107_456_000.0, "2100-02-28 00:00:00.000"),
            (4_107_542_400.0, "2100-03-01 00:00:00.000"),
            (13_569_379_200.0, "2399-12-31 00:00:00.000"),
            (13_574_563_200.0, "2400-02-29 00:00:00.000"),
            (13_574_649_600.0, "2400-03-01 00:00:00.000"),
            (1_709_251_199.25, "2024-02-29 23:59:59.250"),
        ] {
            assert_eq!(date_time(now), text);
        }
    }
}
