//! How many datagrams the kernel dropped before a socket read them, as Linux tells in `/proc/net/udp`. In: the socket. Out: counts.
//! Fails: tells of none where the system keeps no such table.

use std::os::fd::AsRawFd;

use tokio::net::UdpSocket;

/// The drops of one socket.
pub(super) struct Drops {
    inode: Option<u64>,
    told: u64,
}

impl Drops {
    /// Of this socket.
    pub(super) fn of(socket: &UdpSocket) -> Self {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok();
        let name = link.as_deref().and_then(|link| link.to_str());
        let inode = name.and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        Drops { inode, told: 0 }
    }
    /// How many there were since the last call.
    pub(super) async fn more(&mut self) -> u64 {
        let Some(inode) = self.inode else { return 0 };
        for table in ["/proc/net/udp", "/proc/net/udp6"] {
            let text = tokio::fs::read_to_string(table).await.unwrap_or_default();
            if let Some(total) = dropped(&text, inode) {
                let more = total.saturating_sub(self.told);
                self.told = total;
                return more;
            }
        }
        0
    }
}

/// The last column of the row whose tenth column is the inode.
fn dropped(table: &str, inode: u64) -> Option<u64> {
    let rows = table.lines().skip(1).map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
    let mut ours = rows.filter(|row| row.get(9).and_then(|column| column.parse().ok()) == Some(inode));
    ours.next()?.last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_the_socket_is_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            12: 0100007F:0202 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0\n\
            13: 0100007F:1FBD 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 39\n";
        assert_eq!((dropped(table, 4712), dropped(table, 4711), dropped(table, 1)), (Some(39), Some(0), None));
        assert_eq!(dropped("", 1), None);
    }

    #[tokio::test]
    async fn what_nobody_reads_in_time_is_told() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut drops = Drops::of(&socket);
        if !std::path::Path::new("/proc/net/udp").exists() {
            assert_eq!(drops.more().await, 0);
            return;
        }
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut told = 0;
        // A receive buffer is never larger than this.
        for _ in 0..100_000 {
            sender.send_to(&[0; 8_000], socket.local_addr().unwrap()).await.unwrap();
            told = drops.more().await;
            if told > 0 {
                break;
            }
        }
        assert!(told > 0);
    }
}
