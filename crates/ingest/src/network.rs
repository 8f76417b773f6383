//! Where a request came from, as much of it as may be kept.
//!
//! In:      the peer's address, `X-Forwarded-For`, an address a server names for its visitor.
//! Out:     a network: IPv4 /24 or IPv6 /48.
//! Promise: a full address never leaves this file but towards `truncated`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;

/// The visitor's address: the peer's, or with proxies of ours in front what the outermost of them saw.
///
/// Each proxy appends the address it was called from, so with `hops` of ours the visitor stands `hops` from
/// the right. Anything further left was written by the visitor and proves nothing.
pub(crate) fn visitor_ip(request: &Parts, hops: usize) -> Option<IpAddr> {
    if hops == 0 {
        return request.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    }
    let lines = request.headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok());
    let addresses: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let index = addresses.len().checked_sub(hops)?;
    parse_ip(addresses[index])
}

/// Reads an address, also with a port or in brackets, as proxies write them.
pub(crate) fn parse_ip(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// The network of an address, as text.
pub(crate) fn truncated(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            // By hand: every event has one, and formatting took as long as reading the rest of its address.
            let mut network = String::with_capacity("255.255.255.0/24".len());
            for octet in &v4.octets()[..3] {
                if 100 <= *octet {
                    network.push(digit(octet / 100));
                }
                if 10 <= *octet {
                    network.push(digit(octet / 10 % 10));
                }
                network.push(digit(octet % 10));
                network.push('.');
            }
            network.push_str("0/24");
            network
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

fn digit(number: u8) -> char {
    char::from(b'0' + number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn only_the_network_remains() {
        for (text, network) in [
            ("203.0.113.77", "203.0.113.0/24"),
            ("203.0.113.77:4711", "203.0.113.0/24"),
            ("::ffff:203.0.113.77", "203.0.113.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
            ("[2001:db8:1:2:3:4:5:6]:80", "2001:db8:1::/48"),
        ] {
            assert_eq!(truncated(parse_ip(text).unwrap()), network, "{text}");
        }
        assert_eq!(parse_ip("unknown"), None);
        for octet in 0..=255 {
            let v4 = Ipv4Addr::new(octet, 255 - octet, octet / 2, 9);
            let [a, b, c, _] = v4.octets();
            assert_eq!(truncated(v4.into()), format!("{a}.{b}.{c}.0/24"));
        }
    }

    #[test]
    fn what_the_visitor_wrote_into_forwarded_for_is_not_believed() {
        let request = |hops: usize| {
            let request = axum::http::Request::builder()
                .header("x-forwarded-for", "6.6.6.6, 198.51.100.1")
                .header("x-forwarded-for", "10.0.0.1")
                .extension(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 5))))
                .body(())
                .unwrap();
            visitor_ip(&request.into_parts().0, hops)
        };
        assert_eq!(request(0), parse_ip("192.0.2.1"));
        assert_eq!(request(1), parse_ip("10.0.0.1"));
        assert_eq!(request(2), parse_ip("198.51.100.1"));
        assert_eq!(request(9), None);
    }
}
