//! A simulated bridge for `--demo`: a table of statistics that follow the load of a day.
//!
//! It is not part of the scrape path: the exporter asks this bridge over a loopback port like any other. A report depends only on
//! the time, so two requests at the same time get the same report, and counters never fall. The simulated bridge sends every
//! statistic of a current bridge, also those that a bridge registers on first use. In `/colibri/stats` it also sends the
//! distributions that bridges sent there until 2024, because dashboards show them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::metrics::catalogue::{ROWS, Row, Source};
use crate::metrics::report::date_time;
use crate::serve::http::Handler;
use crate::serve::request::{Request, Response, StatusCode};

/// The simulated bridge.
#[derive(Debug)]
pub struct Demo;

impl Handler for Demo {
    fn respond(&self, request: &Request) -> Response {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match request.path() {
            "/colibri/stats" => Response::ok("application/json", stats(now)),
            "/metrics" => Response::ok("application/json", native(now)),
            _ => Response::text(
                StatusCode::NOT_FOUND,
                "the simulated bridge of jitsiexporter --demo has /colibri/stats and /metrics",
            ),
        }
    }
}

/// The response of `/colibri/stats` at a time since 1970.
#[must_use]
pub fn stats(now: Duration) -> String {
    report(now, |row| row.stats)
}

/// The response of the bridge's own `/metrics`, as JSON, at a time since 1970.
#[must_use]
pub fn native(now: Duration) -> String {
    report(now, |row| row.native)
}

/// A report of all statistics that have a key in this source, in the units of the source.
fn report(now: Duration, source: fn(&Row) -> Option<Source>) -> String {
    let moment = Moment::at(now);
    let member = |row: &Row| {
        let (Source { key, unit }, primary) = (source(row)?, row.primary());
        let (_, shape) = STATISTICS.iter().find(|(own, _)| *own == primary.key)?;
        let in_stats = row.stats.is_some_and(|stats| stats.key == key);
        let in_unit = |number: f64| {
            let ((times, over), (over_again, times_again)) = (primary.unit.ratio(), unit.ratio());
            (number * f64::from(times * times_again) / f64::from(over * over_again)).to_string()
        };
        let value = shape.value(&moment, in_unit, in_stats);
        Some(format!("\"{key}\":{value}"))
    };
    let mut members: Vec<_> = ROWS.iter().filter_map(member).collect();
    members.sort();
    // One key can feed two rows.
    members.dedup();
    format!("{{{}}}", members.join(","))
}

/// When the simulated bridge started: Monday, 2 November 2026, in seconds since 1970.
const STARTED: f64 = 1_793_577_600.0;

/// The waves of the load: period and time of an upward crossing, in hours since the start, and amplitude. The load is highest on
/// Tuesdays at 13:00 UTC, lowest in the night to Saturday, and ripples within minutes.
const WAVES: [(f64, f64, f64); 4] = [(24.0, 7.0, 0.3), (168.0, -8.0, 0.1), (0.5, 0.0, 0.04), (0.12, 0.0, 0.03)];

/// Like a sine of period 1, made of parabolas, so that its digits are the same on every platform.
fn wave(phase: f64) -> f64 {
    let phase = phase.rem_euclid(1.0);
    if phase < 0.5 { 16.0 * phase * (0.5 - phase) } else { -16.0 * (phase - 0.5) * (1.0 - phase) }
}

/// The integral of [`wave`] from 0, which is 0 again after a whole period.
fn integral(phase: f64) -> f64 {
    let half = |phase: f64| 4.0 * phase * phase * (1.0 - 4.0 * phase / 3.0);
    let phase = phase.rem_euclid(1.0);
    if phase < 0.5 { half(phase) } else { half(0.5) - half(phase - 0.5) }
}

/// The simulation at one moment.
struct Moment {
    now: Duration,
    /// How busy the bridge is, from 0 to 1.
    load: f64,
    /// The integral of the load since the start, in hours.
    load_hours: f64,
}

impl Moment {
    fn at(now: Duration) -> Self {
        // The clock of the machine may be wrong.
        let hours = (now.as_secs_f64() - STARTED).max(0.0) / 3600.0;
        let (mut load, mut load_hours) = (0.5, 0.5 * hours);
        for (period, crossing, amplitude) in WAVES {
            load += amplitude * wave((hours - crossing) / period);
            let area = integral((hours - crossing) / period) - integral(-crossing / period);
            load_hours += amplitude * period * area;
        }
        Self { now, load, load_hours }
    }

    /// The total of a counter that grows by this much per hour under full load.
    fn total(&self, per_hour: f64) -> f64 {
        (self.load_hours * per_hour).floor()
    }

    fn conferences(&self) -> f64 {
        (1.0 + 23.0 * self.load).floor()
    }

    /// The number of conferences with at most 0, 1, 2, ... of something, from the shares of the conferences.
    fn cumulative(&self, shares: &'static [f64]) -> impl Iterator<Item = f64> + Clone {
        let conferences = self.conferences();
        shares.iter().map(move |share| (conferences * share).round())
    }

    /// The sum over all conferences of something that is distributed over them by these shares.
    fn sum(&self, shares: &'static [f64]) -> f64 {
        self.cumulative(shares).map(|below| self.conferences() - below).sum()
    }
}

/// How a value changes with the load.
enum Shape {
    Text(&'static str),
    Flag(bool),
    /// The time of the report.
    Now,
    /// A number that follows the load: its value without load, and under full load.
    Real(f64, f64),
    /// The same, rounded.
    Whole(f64, f64),
    /// A number per conference, rounded.
    PerConference(f64),
    /// A number per endpoint, rounded. Two that add up to a total must not both end in .5, or rounding would change the sum.
    PerEndpoint(f64),
    /// The sum over all conferences, by the shares of a distribution.
    Sum(&'static [f64]),
    /// The size of the largest conference.
    Largest,
    /// A counter: how much it grows per hour under full load.
    Counter(f64),
    /// A distribution of the conferences: the shares of them with at most 0, 1, 2, ... of something. The last share is 1.
    Conferences(&'static [f64]),
    /// A histogram: observations per hour under full load, their mean, and the upper bound of each bucket with the share of the
    /// observations up to it.
    Observations(f64, f64, &'static [(f64, f64)]),
}
use Shape::{
    Conferences, Counter, Flag, Largest, Now, Observations, PerConference, PerEndpoint, Real, Sum, Text, Whole,
};

impl Shape {
    /// The value as JSON. A distribution has another form in `/colibri/stats` than in the bridge's own metrics.
    fn value(&self, moment: &Moment, in_unit: impl Fn(f64) -> String, in_stats: bool) -> String {
        match *self {
            Text(text) => format!("\"{text}\""),
            Flag(flag) => flag.to_string(),
            Now => format!("\"{}\"", date_time(UNIX_EPOCH + moment.now)),
            Real(none, full) => in_unit(none + (full - none) * moment.load),
            Whole(none, full) => in_unit((none + (full - none) * moment.load).round()),
            PerConference(number) => in_unit((moment.conferences() * number).round()),
            PerEndpoint(number) => in_unit((moment.sum(SIZES) * number).round()),
            Sum(shares) => in_unit(moment.sum(shares)),
            Largest => {
                in_unit(moment.cumulative(SIZES).take_while(|&below| below < moment.conferences()).map(|_| 1.0).sum())
            }
            Counter(per_hour) => in_unit(moment.total(per_hour)),
            Conferences(shares) if in_stats => {
                format!("[{}]", joined(differences(moment.cumulative(shares)), |count| count.to_string()))
            }
            Conferences(shares) => {
                let bounds = (0..).map(f64::from).take(shares.len() - 1);
                buckets(bounds, moment.cumulative(shares), moment.sum(shares))
            }
            Observations(per_hour, mean, shares) => {
                let (count, sum) = (moment.total(per_hour), moment.total(per_hour * mean));
                let bounds = shares.iter().map(|(bound, _)| *bound);
                let cumulative = shares.iter().map(|(_, share)| (count * share).floor()).chain([count]);
                if in_stats { ranges(bounds, cumulative, sum) } else { buckets(bounds, cumulative, sum) }
            }
        }
    }
}

/// The count of each bucket alone.
fn differences(cumulative: impl Iterator<Item = f64>) -> impl Iterator<Item = f64> {
    cumulative.scan(0.0, |below, count| Some(count - std::mem::replace(below, count)))
}

fn joined<T>(items: impl Iterator<Item = T>, text: impl Fn(T) -> String) -> String {
    items.map(text).collect::<Vec<_>>().join(",")
}

/// A distribution in the form of the bridge's own metrics.
fn buckets(bounds: impl Iterator<Item = f64>, cumulative: impl Iterator<Item = f64> + Clone, sum: f64) -> String {
    let count = cumulative.clone().last().unwrap_or_default();
    let bounds = bounds.map(|bound| format!("{bound:?}")).chain(["+Inf".to_owned()]);
    let buckets = joined(bounds.zip(cumulative), |(bound, count)| format!("\"bucket_le_{bound}\":{count:?}"));
    format!("{{{buckets},\"count\":{count:?},\"sum\":{sum:?},\"created\":{STARTED:?}}}")
}

/// A histogram in the form of `/colibri/stats` in 2021.
fn ranges(
    bounds: impl Iterator<Item = f64> + Clone,
    cumulative: impl Iterator<Item = f64> + Clone,
    sum: f64,
) -> String {
    let count = cumulative.clone().last().unwrap_or_default();
    let above = bounds.clone().last().map(|bound| format!("> {bound}"));
    let ranges = bounds.map(|bound| format!("<= {bound}")).chain(above).zip(differences(cumulative));
    let ranges = joined(ranges, |(range, count)| format!("\"{range}\":{count}"));
    format!("{{\"total_value\":{sum},\"total_count\":{count},\"buckets\":{{{ranges}}}}}")
}

/// The statistics by their key in `/colibri/stats` or, if they have none there, in the bridge's own metrics.
const STATISTICS: &[(&str, Shape)] = &[
    // The bridge.
    ("version", Text("2.3.312-demo")),
    ("release", Text("1")),
    ("region", Text("demo")),
    ("relay_id", Text("demo-bridge")),
    ("startup_time", Whole(STARTED * 1000.0, STARTED * 1000.0)),
    ("current_timestamp", Now),
    ("healthy", Flag(true)),
    ("drain", Flag(false)),
    ("graceful_shutdown", Flag(false)),
    ("shutting_down", Flag(false)),
    ("stress_level", Real(0.03, 0.8)),
    ("average_participant_stress", Real(0.01, 0.01)),
    ("muc_clients_configured", Whole(1.0, 1.0)),
    ("muc_clients_connected", Whole(1.0, 1.0)),
    ("mucs_configured", Whole(1.0, 1.0)),
    ("mucs_joined", Whole(1.0, 1.0)),
    ("threads", Whole(60.0, 96.0)),
    ("jvm_heap_used", Whole(6e8, 1.6e9)),
    ("jvm_heap_committed", Whole(2_147_483_648.0, 2_147_483_648.0)),
    ("jvm_gc_count", Counter(170.0)),
    ("jvm_gc_time", Counter(3_230.0)),
    ("jvm_open_fd_count", Whole(214.0, 330.0)),
    ("cpu_steal", Real(0.001, 0.006)),
    // Conferences and endpoints.
    ("conferences", PerConference(1.0)),
    ("largest_conference", Largest),
    ("inactive_conferences", PerConference(AUDIO_SENDERS[0])),
    ("p2p_conferences", PerConference(0.05)),
    ("octo_conferences", PerConference(0.5)),
    ("conference_sizes", Conferences(SIZES)),
    ("conferences_by_audio_senders", Conferences(AUDIO_SENDERS)),
    ("conferences_by_video_senders", Conferences(VIDEO_SENDERS)),
    ("endpoints", PerEndpoint(1.0)),
    ("participants", PerEndpoint(1.0)),
    ("local_endpoints", PerEndpoint(0.88)),
    ("octo_endpoints", PerEndpoint(0.12)),
    ("visitors", PerEndpoint(0.1)),
    ("inactive_endpoints", PerEndpoint(0.04)),
    ("local_active_endpoints", PerEndpoint(0.84)),
    ("receive_only_endpoints", PerEndpoint(0.3)),
    ("endpoints_sending_audio", Sum(AUDIO_SENDERS)),
    ("endpoints_sending_video", Sum(VIDEO_SENDERS)),
    ("endpoints_with_high_outgoing_loss", PerEndpoint(0.02)),
    ("endpoints_with_suspended_sources", PerEndpoint(0.03)),
    ("num_eps_oversending", PerEndpoint(0.02)),
    ("tcc_unmatched_feedback", PerEndpoint(0.5)),
    // Traffic.
    ("incoming_loss", Real(0.001, 0.006)),
    ("outgoing_loss", Real(0.003, 0.012)),
    ("overall_loss", Real(0.002, 0.009)),
    ("rtt_aggregate", Real(38.0, 62.0)),
    ("bit_rate_download", Whole(0.0, 59_500.0)),
    ("bit_rate_upload", Whole(0.0, 128_000.0)),
    ("packet_rate_download", Whole(0.0, 7_430.0)),
    ("packet_rate_upload", Whole(0.0, 16_000.0)),
    ("octo_receive_bitrate", Whole(0.0, 24e6)),
    ("octo_send_bitrate", Whole(0.0, 28.8e6)),
    ("octo_receive_packet_rate", Whole(0.0, 3_000.0)),
    ("octo_send_packet_rate", Whole(0.0, 3_600.0)),
    ("tossedPacketsEnergy", Observations(380_000.0, 27.0, ENERGY)),
    ("rtp_transit_time", Observations(13_400_000.0, 2.6, TRANSIT)),
    ("rtcp_transit_time", Observations(670_000.0, 2.6, TRANSIT)),
    // Counters, for about 120 endpoints.
    ("total_conferences_created", Counter(60.0)),
    ("total_conferences_completed", Counter(59.88)),
    ("total_conference_seconds", Counter(123_360.0)),
    ("total_dominant_speaker_changes", Counter(1680.0)),
    ("total_participants", Counter(228.0)),
    ("total_visitors", Counter(22.8)),
    ("total_relays", Counter(6.0)),
    ("endpoints_disconnected", Counter(25.2)),
    ("endpoints_reconnected", Counter(21.6)),
    ("endpoints_with_spurious_remb", Counter(0.24)),
    ("total_ice_succeeded", Counter(225.6)),
    ("total_ice_succeeded_relayed", Counter(13.2)),
    ("total_ice_failed", Counter(1.32)),
    ("endpoints_ice_failed", Counter(1.2)),
    ("relays_ice_failed", Counter(0.06)),
    ("ice_restarts_started_total", Counter(4.8)),
    ("ice_restarts_succeeded_total", Counter(4.32)),
    ("ice_restarts_failed_total", Counter(0.24)),
    ("ice_restarts_superseded_total", Counter(0.12)),
    ("ice_restarts_rejected_total", Counter(0.0)),
    ("ice_restarts_not_established_total", Counter(0.06)),
    ("ice_restarts_agent_creation_failed_total", Counter(0.0)),
    ("dtls_failed_endpoints", Counter(0.36)),
    ("dtls_failed_relays", Counter(0.012)),
    ("num_eps_no_msg_transport_after_delay", Counter(0.48)),
    ("num_relays_no_msg_transport_after_delay", Counter(0.024)),
    ("total_colibri_web_socket_messages_received", Counter(7200.0)),
    ("total_colibri_web_socket_messages_sent", Counter(16_800.0)),
    ("colibri_web_socket_close_normal_total", Counter(204.0)),
    ("colibri_web_socket_close_abnormal_total", Counter(19.2)),
    ("colibri_web_socket_error_total", Counter(2.4)),
    ("total_data_channel_messages_received", Counter(0.0)),
    ("total_data_channel_messages_sent", Counter(0.0)),
    ("rejected_data_channels_total", Counter(0.0)),
    ("xmpp_disconnects_total", Counter(0.048)),
    ("total_bytes_received", Counter(26_760_000_000.0)),
    ("total_bytes_sent", Counter(57_600_000_000.0)),
    ("total_packets_received", Counter(26_760_000.0)),
    ("total_packets_sent", Counter(57_600_000.0)),
    ("total_bytes_received_octo", Counter(10_800_000_000.0)),
    ("total_bytes_sent_octo", Counter(12_960_000_000.0)),
    ("total_packets_received_octo", Counter(10_800_000.0)),
    ("total_packets_sent_octo", Counter(12_960_000.0)),
    ("total_keyframes_received", Counter(4920.0)),
    ("total_layering_changes_received", Counter(2040.0)),
    ("total_video_stream_milliseconds_received", Counter(259_200_000.0)),
    ("preemptive_kfr_sent", Counter(1080.0)),
    ("preemptive_kfr_suppressed", Counter(300.0)),
    ("queue_dropped_packets_total", Counter(108.0)),
    ("queue_exceptions_total", Counter(0.24)),
    ("rtp_receiver_dropped_packets_total", Counter(36.0)),
    ("rtp_receiver_exceptions_total", Counter(0.12)),
    ("rtp_sender_dropped_packets_total", Counter(24.0)),
    ("rtp_sender_exceptions_total", Counter(0.12)),
    ("srtp_send_queue_dropped_packets_total", Counter(48.0)),
    ("srtp_send_queue_exceptions_total", Counter(0.0)),
    ("endpoint_receive_message_queue_dropped_packets_total", Counter(0.0)),
    ("endpoint_receive_message_queue_exceptions_total", Counter(0.0)),
    ("colibri_queue_dropped_packets_total", Counter(0.0)),
    ("colibri_queue_exceptions_total", Counter(0.0)),
    ("relay_srtp_send_queue_dropped_packets_total", Counter(12.0)),
    ("relay_srtp_send_queue_exceptions_total", Counter(0.0)),
    ("relay_endpoint_srtp_send_queue_dropped_packets_total", Counter(6.0)),
    ("relay_endpoint_srtp_send_queue_exceptions_total", Counter(0.0)),
    ("exporter_starts_total", Counter(2.4)),
    ("exporter_websocket_failures_total", Counter(0.12)),
    ("exporter_websocket_internal_errors_total", Counter(0.06)),
    ("exporter_packets_sent_total", Counter(432_000.0)),
    ("exporter_transcripts_received_total", Counter(1_440.0)),
    ("exporter_media_events_received_total", Counter(3_600.0)),
    ("exporter_sending_changes_received_total", Counter(180.0)),
    ("exporter_info_received_total", Counter(2.4)),
    ("exporter_other_messages_received_total", Counter(4.8)),
    ("exporter_parse_failures_total", Counter(0.06)),
    ("rtp_transit_time_unknown_delay_total", Counter(480.0)),
    ("rtcp_transit_time_unknown_delay_total", Counter(24.0)),
];

/// The shares of conferences with at most 0, 1, 2, ... endpoints. The last element stands for 21 or more.
const SIZES: &[f64] = &[
    0.0, 0.02, 0.2, 0.38, 0.55, 0.68, 0.77, 0.83, 0.87, 0.9, 0.92, 0.93, 0.94, 0.95, 0.955, 0.96, 0.965, 0.97, 0.975,
    0.98, 0.985, 1.0,
];

/// The same by endpoints that send audio.
const AUDIO_SENDERS: &[f64] =
    &[0.05, 0.5, 0.8, 0.92, 0.96, 0.98, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];

/// The same by endpoints that send video.
const VIDEO_SENDERS: &[f64] = &[
    0.06, 0.15, 0.45, 0.7, 0.82, 0.88, 0.92, 0.95, 0.97, 0.98, 0.99, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
    1.0,
];

/// The time that packets spend in the bridge, in milliseconds.
const TRANSIT: &[(f64, f64)] = &[(0.0, 0.0125), (5.0, 0.9937), (50.0, 0.9999), (500.0, 1.0)];

/// The energy scores of discarded audio packets, which are mostly quiet.
const ENERGY: &[(f64, f64)] = &[
    (0.0, 0.01264),
    (7.0, 0.11062),
    (15.0, 0.27497),
    (23.0, 0.46776),
    (31.0, 0.63843),
    (39.0, 0.77434),
    (47.0, 0.86915),
    (55.0, 0.92920),
    (63.0, 0.96397),
    (71.0, 0.98293),
    (79.0, 0.99241),
    (87.0, 0.99684),
    (95.0, 0.99874),
    (103.0, 0.99953),
    (111.0, 0.99984),
    (119.0, 0.99997),
    (127.0, 1.00000),
];

#[cfg(test)]
#[test]
fn table_has_no_key_that_the_catalogue_lacks() {
    for (key, _) in STATISTICS {
        assert!(ROWS.iter().any(|row| row.primary().key == *key), "{key}");
    }
}
