/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mobile IP tunnels as tc programs: IP-in-IP, GRE, minimal encapsulation and MIP tunnel
 * data (RFC 2003, 2784 and 2890, 2004, 3519), by one map entry for each home address.
 *
 *   link, ingress   tunnel packets for us are checked, stripped, and arrive again from
 *                   the port. Home agent: what is for a bound home address gets a mark,
 *                   by which a policy rule routes it into the port; ARP requests for
 *                   one are answered (ARP-01).
 *   link, egress    home agent: packets of this host for a bound home address turn
 *                   round into the port, and its ARP requests are answered too.
 *   far end of the  what the kernel routed into the port is encapsulated and sent.
 *   port, ingress   Tunnel packets that the kernel had to reassemble, or that have a
 *                   checksum over all of them, come here from user space, to be checked
 *                   and stripped like all others. So do, at a mobile node, the nests in
 *                   which copies of what is for many come out of the tunnel.
 *   nowhere         run by user space to forget many home addresses at once.
 *
 * So the kernel forwards, decrements the TTL, fragments and reports "fragmentation
 * needed" for inner packets, by the MTU of the route into the port.
 *
 * Built by `make bpf`; ebpf.py loads the object. No libbpf, no BTF. What it shares with
 * Python are the structures, the marks and the order of `enum drop`.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define htons(value) __builtin_bswap16(value)
#define ntohs(value) __builtin_bswap16(value)

static void *(*map_lookup)(void *, const void *) = (void *)BPF_FUNC_map_lookup_elem;
static long (*map_update)(void *, const void *, const void *, __u64) =
	(void *)BPF_FUNC_map_update_elem;
static long (*map_delete)(void *, const void *) = (void *)BPF_FUNC_map_delete_elem;
static __u32 (*random_u32)(void) = (void *)BPF_FUNC_get_prandom_u32;
static long (*load_bytes)(const void *, __u32, void *, __u64) =
	(void *)BPF_FUNC_skb_load_bytes;
static long (*store_bytes)(void *, __u32, const void *, __u64, __u64) =
	(void *)BPF_FUNC_skb_store_bytes;
static long (*adjust_room)(void *, __s32, __u32, __u64) =
	(void *)BPF_FUNC_skb_adjust_room;
static long (*fib_lookup)(void *, void *, int, __u32) = (void *)BPF_FUNC_fib_lookup;
static long (*redirect)(__u32, __u64) = (void *)BPF_FUNC_redirect;
static long (*redirect_neigh)(__u32, void *, int, __u64) =
	(void *)BPF_FUNC_redirect_neigh;
static long (*clone_redirect)(void *, __u32, __u64) = (void *)BPF_FUNC_clone_redirect;

/* What both sides of the map share */

#define MAX_PEERS 8
#define MAX_BINDINGS 262144
#define MAX_FORGOTTEN 64 /* at a time: the verifier goes round as often */
#define MARK_MASK 0x3f000000 /* of the routing mark: which MTU, 0 is not for a tunnel */

enum { /* of a binding */
	REVERSE = 1, /* packets come through the tunnel too (T) */
};

enum { /* of a form */
	SEND_KEY = 1,
	RECEIVE_KEY = 2,
	UDP = 4, /* in Tunnel Data messages */
};

struct form {
	__be32 peer;
	__u8 encapsulation; /* 4, 47 or 55 */
	__u8 flags;
	__be16 our_port;
	__be16 peer_port;
	__u16 unused;
	__be32 send_key;
	__be32 receive_key;
};

struct head {
	__be32 home; /* the key again: an entry may be reused while we look at it */
	__be32 local;
	__u32 ifindex; /* where outer packets leave; 0: routing decides */
	__u32 mark;
	__u8 peers; /* that packets are accepted from */
	__u8 targets; /* that packets are sent to: the same, or none */
	__u8 flags;
	__u8 unused;
};

struct binding {
	struct head head;
	struct form forms[MAX_PEERS];
};

struct counters {
	__u64 sent_packets;
	__u64 sent_bytes;
	__u64 received_packets;
	__u64 received_bytes;
	__u64 host_asked; /* interface where we answered an ARP request of this host */
};

struct forgotten { /* what user space hands over, behind an Ethernet header */
	__be32 home;
	__u32 host_asked; /* filled in from the counters */
};

struct config {
	__u32 port; /* interface indexes: of the near end, */
	__u32 far; /* and the far, which sends nothing but whole packets */
	__u32 home_link;
	__be32 broadcast; /* of the home network */
	__u8 port_mac[ETH_ALEN];
	__u8 home_mac[ETH_ALEN];
	__be32 home; /* mobile node: its home address */
};

enum drop { /* names as ebpf.py has them, in capitals */
	NOT_IPV4,
	TRUNCATED,
	BAD_LENGTH,
	BAD_CHECKSUM,
	UNKNOWN_PROTOCOL,
	TTL_ZERO,
	TOO_BIG,
	EXIT_ADDRESS,
	OWN_TUNNEL,
	GRE_FLAGS,
	GRE_VERSION,
	GRE_PROTOCOL,
	MINIMAL_CHECKSUM,
	NO_TUNNEL,
	RECEIVE_ONLY,
	REVERSE_NO_BINDING,
	REVERSE_WRONG_OUTER_SOURCE,
	REVERSE_WRONG_OUTER_DESTINATION,
	REVERSE_WRONG_ENCAPSULATION,
	REVERSE_WRONG_PORTS,
	REVERSE_WRONG_KEY,
	REVERSE_NOT_NEGOTIATED,
	FORWARD_NO_TUNNEL,
	FORWARD_WRONG_OUTER_SOURCE,
	FORWARD_WRONG_ENCAPSULATION,
	FORWARD_WRONG_PORTS,
	FORWARD_WRONG_KEY,
	SEND_EMSGSIZE, /* larger than the path allows, by what the kernel knows */
	SEND_ENETUNREACH,
	SEND_ENOBUFS, /* no room for a header, or none to be had */
	PORT_NO_ROUTE, /* marked, and yet not routed into the port */
	DROPS,
	GOOD, /* no reason at all */
	FOR_THE_KERNEL,
};

struct map {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 flags;
};

struct map SEC("maps") bindings = {
	BPF_MAP_TYPE_HASH, 4, sizeof(struct binding), MAX_BINDINGS, BPF_F_NO_PREALLOC,
};
struct map SEC("maps") counters = {
	BPF_MAP_TYPE_HASH, 4, sizeof(struct counters), MAX_BINDINGS, BPF_F_NO_PREALLOC,
};
struct map SEC("maps") locals = { /* our ends: what is sent there is for us */
	BPF_MAP_TYPE_HASH, 4, 1, 1024, BPF_F_NO_PREALLOC,
};
struct map SEC("maps") ports = { /* ours, to which tunnel data comes */
	BPF_MAP_TYPE_HASH, 2, 1, 65535, BPF_F_NO_PREALLOC,
};
struct map SEC("maps") drops = {
	BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, DROPS, 0,
};
struct map SEC("maps") config = {
	BPF_MAP_TYPE_ARRAY, 4, sizeof(struct config), 1, 0,
};

/* Headers that linux/ does not have */

struct tunnel_data { /* RFC 3519 section 3.3 */
	__u8 type;
	__u8 next_header;
	__u16 reserved;
};

struct in_udp {
	struct udphdr udp;
	struct tunnel_data data;
};

struct minimal { /* RFC 2004 section 3 */
	__u8 protocol;
	__u8 flags;
	__be16 check;
	__be32 daddr;
	__be32 saddr; /* only with SOURCE_PRESENT */
};

struct gre {
	__be16 flags;
	__be16 protocol;
	__be32 key; /* only with GRE_HAS_KEY */
};

struct arp { /* of IPv4 on Ethernet; linux/if_arp.h wants the C library */
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_size;
	__u8 protocol_size;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__u8 sender[4];
	__u8 target_mac[ETH_ALEN];
	__u8 target[4];
};

#define ARPHRD_ETHER 1
#define ARPOP_REQUEST 1
#define ARPOP_REPLY 2
#define IPPROTO_MINIMAL 55
#define MIP_PORT 434
#define TUNNEL_DATA 4
#define SOURCE_PRESENT 0x80
#define GRE_HAS_CHECKSUM 0x8000
#define GRE_HAS_KEY 0x2000
#define GRE_UNSUPPORTED 0x5c00 /* bits 1 to 5, but the key (TUN-07) */
#define GRE_VERSION_BITS 0x0007
#define DONT_FRAGMENT 0x4000
#define FRAGMENT_MASK 0x3fff
#define OUTER_TTL 64
#define L2 ETH_HLEN
#define IPV4 sizeof(struct iphdr)
#define AF_INET 2

#define HOME_AGENT 1
#define MOBILE_NODE 0

struct packet { /* what there is to know of a tunnel packet */
	struct iphdr outer;
	struct iphdr inner; /* of minimal encapsulation: as it was */
	__be16 our_port; /* with UDP */
	__be16 peer_port;
	__be32 key;
	__u32 strip; /* octets between outer header and inner packet */
	__u8 encapsulation;
	__u8 flags; /* as in a form */
};

/* Small things */

INLINE int drop(enum drop why)
{
	__u32 index = why;
	__u64 *count = map_lookup(&drops, &index);

	if (count)
		*count += 1;
	return TC_ACT_SHOT;
}

INLINE struct config *get_config(void)
{
	__u32 zero = 0;

	return map_lookup(&config, &zero);
}

INLINE struct counters *get_counters(__be32 home)
{
	struct counters *found = map_lookup(&counters, &home);

	if (!found) {
		struct counters empty = {};

		map_update(&counters, &home, &empty, BPF_NOEXIST);
		found = map_lookup(&counters, &home);
	}
	return found;
}

INLINE __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

INLINE __u16 checksum(const void *data, int size)
{
	const __u16 *words = data;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < size / 2; i++)
		sum += words[i];
	return fold(sum);
}

INLINE int is_tunnel(__u8 protocol)
{
	return protocol == IPPROTO_IPIP || protocol == IPPROTO_GRE ||
	       protocol == IPPROTO_MINIMAL;
}

/* Is it a Tunnel Data message for us? `offset` is that of the UDP header. */
INLINE int is_tunnel_data(struct __sk_buff *skb, __u32 offset)
{
	struct in_udp in;

	return !load_bytes(skb, offset, &in, sizeof(in)) &&
	       in.data.type == TUNNEL_DATA && map_lookup(&ports, &in.udp.dest);
}

/* Is it a Tunnel Data message of this host? One of its ports is the registered one. */
INLINE int is_own_tunnel_data(struct __sk_buff *skb, __u32 offset)
{
	struct in_udp in;

	return !load_bytes(skb, offset, &in, sizeof(in)) &&
	       in.data.type == TUNNEL_DATA &&
	       (in.udp.source == htons(MIP_PORT) || in.udp.dest == htons(MIP_PORT));
}

/* Update a header whose length, protocol and addresses have changed. */
INLINE void update_checksum(struct iphdr *now, const struct iphdr *was)
{
	const __u16 *new = (const __u16 *)now, *old = (const __u16 *)was;
	__u32 sum = (__u16)~was->check;

	sum += new[1] + (__u16)~old[1];
	sum += new[4] + (__u16)~old[4];
#pragma unroll
	for (int i = 6; i < 10; i++)
		sum += new[i] + (__u16)~old[i];
	now->check = fold(sum);
}

/* IP options, when a minimal forwarding header goes in or out behind them */

/*
 * The verifier of Linux 6.1 has to see the comparison on the very register that is used:
 * without the barrier the compiler compares a copy.
 */
#define LESS_ONE(size) ({ __u64 value = (size) - 1ULL; asm volatile("" : "+r"(value)); value; })

INLINE int take_options(struct __sk_buff *skb, __u32 size, __u8 *options)
{
	__u64 less_one = LESS_ONE(size);

	if (less_one > 39)
		return 0;
	return load_bytes(skb, L2 + IPV4, options, less_one + 1);
}

INLINE int put_options(struct __sk_buff *skb, __u32 size, const __u8 *options)
{
	__u64 less_one = LESS_ONE(size);

	if (less_one > 39)
		return 0;
	return store_bytes(skb, L2 + IPV4, options, less_one + 1, 0);
}

/* Into the tunnel */

INLINE int put_udp(struct __sk_buff *skb, __u32 offset, const struct form *form,
		   __u8 next_header, __u32 size)
{
	struct in_udp in = {
		.udp.source = form->our_port,
		.udp.dest = form->peer_port,
		.udp.len = htons(size),
		.data.type = TUNNEL_DATA,
		.data.next_header = next_header,
	};

	return store_bytes(skb, offset, &in, sizeof(in), 0);
}

/* IP-in-IP and GRE, in UDP or not: a new header before the old (RFC 2003 3.1). */
INLINE int wrap(struct __sk_buff *skb, const struct iphdr *inner, __be32 local,
		const struct form *form, __u8 type, __u32 room)
{
	__u32 in_udp = form->flags & UDP, offset = L2 + IPV4;
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO; /* the route's MTU has made the room */
	struct iphdr outer = {
		.version = 4,
		.ihl = 5,
		.tos = inner->tos,
		.tot_len = htons(ntohs(inner->tot_len) + room),
		.frag_off = inner->frag_off & htons(DONT_FRAGMENT),
		.ttl = OUTER_TTL,
		.protocol = in_udp ? IPPROTO_UDP : type,
		.saddr = local,
		.daddr = form->peer,
	};
	__u64 offloads = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;

	if (!outer.frag_off)
		outer.id = random_u32();
	outer.check = checksum(&outer, IPV4);
	if (in_udp)
		offloads |= BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	else if (type == IPPROTO_GRE)
		offloads |= BPF_F_ADJ_ROOM_ENCAP_L4_GRE;
	/* Refused for a packet that came out of another tunnel a moment ago. */
	if (adjust_room(skb, room, BPF_ADJ_ROOM_MAC, flags | offloads) &&
	    adjust_room(skb, room, BPF_ADJ_ROOM_MAC, flags))
		return -1;
	if (store_bytes(skb, L2, &outer, IPV4, 0))
		return -1;
	if (in_udp) {
		if (put_udp(skb, offset, form, type, ntohs(outer.tot_len) - IPV4))
			return -1;
		offset += sizeof(struct in_udp);
	}
	if (type == IPPROTO_GRE) {
		struct gre gre = { .protocol = htons(ETH_P_IP) };

		if (!(form->flags & SEND_KEY))
			return store_bytes(skb, offset, &gre, 4, 0);
		gre.flags = htons(GRE_HAS_KEY);
		gre.key = form->send_key;
		return store_bytes(skb, offset, &gre, 8, 0);
	}
	return 0;
}

/* Minimal encapsulation: the header is changed, what was in it goes behind it. */
INLINE int modify(struct __sk_buff *skb, const struct iphdr *inner, __be32 local,
		  const struct form *form, __u32 room)
{
	__u32 in_udp = form->flags & UDP;
	__u32 forwarding = room - (in_udp ? sizeof(struct in_udp) : 0);
	__u32 offset = L2 + inner->ihl * 4, options_size = inner->ihl * 4 - IPV4;
	__u8 options[40];
	struct iphdr outer = *inner;
	struct minimal header = { .protocol = inner->protocol, .daddr = inner->daddr };

	if (forwarding == sizeof(header)) {
		header.flags = SOURCE_PRESENT;
		header.saddr = inner->saddr;
	}
	header.check = checksum(&header, sizeof(header));
	outer.tot_len = htons(ntohs(inner->tot_len) + room);
	outer.protocol = in_udp ? IPPROTO_UDP : IPPROTO_MINIMAL;
	outer.saddr = local;
	outer.daddr = form->peer;
	update_checksum(&outer, inner);
	if (take_options(skb, options_size, options) ||
	    adjust_room(skb, room, BPF_ADJ_ROOM_NET, 0) ||
	    store_bytes(skb, L2, &outer, IPV4, 0) ||
	    put_options(skb, options_size, options))
		return -1;
	if (in_udp) {
		if (put_udp(skb, offset, form, IPPROTO_MINIMAL,
			    ntohs(outer.tot_len) - outer.ihl * 4))
			return -1;
		offset += sizeof(struct in_udp);
	}
	if (forwarding == sizeof(header))
		return store_bytes(skb, offset, &header, 12, 0);
	return store_bytes(skb, offset, &header, 8, 0);
}

INLINE int encapsulate(struct __sk_buff *skb, const struct config *config, int role,
		       __u32 copy, int is_copy)
{
	struct bpf_fib_lookup fib = { .family = AF_INET };
	__u32 room, size, type, index = copy & (MAX_PEERS - 1);
	struct counters *count;
	struct binding *binding;
	struct iphdr inner;
	struct form form;
	struct head head;
	__be32 key;
	long error;

	if (load_bytes(skb, L2, &inner, IPV4))
		return drop(TRUNCATED);
	if (inner.version != 4)
		return drop(NOT_IPV4);
	size = ntohs(inner.tot_len);
	if (inner.ihl < 5 || size < inner.ihl * 4)
		return drop(BAD_LENGTH);
	if (size > skb->len - L2)
		return drop(TRUNCATED);
	if (!inner.ttl)
		return drop(TTL_ZERO);
	key = role == HOME_AGENT ? inner.daddr : inner.saddr;
	binding = map_lookup(&bindings, &key);
	if (!binding)
		return drop(NO_TUNNEL);
	head = binding->head;
	form = binding->forms[index];
	if (*(volatile __be32 *)&binding->head.home != key)
		return drop(NO_TUNNEL);
	if (head.targets == 0)
		return drop(RECEIVE_ONLY);
	if (!is_copy) {
		for (__u32 i = 1; i < MAX_PEERS; i++) {
			__u8 mac[ETH_ALEN] = { 0, 0, 0, 0, 1, i };

			if (i >= head.targets)
				break;
			store_bytes(skb, 0, mac, sizeof(mac), 0);
			clone_redirect(skb, skb->ifindex, BPF_F_INGRESS);
		}
	}
	if (inner.saddr == form.peer)
		return drop(EXIT_ADDRESS);
	if (inner.saddr == head.local &&
	    (is_tunnel(inner.protocol) ||
	     (inner.protocol == IPPROTO_UDP && !(inner.frag_off & htons(FRAGMENT_MASK)) &&
	      is_own_tunnel_data(skb, L2 + inner.ihl * 4))))
		return drop(OWN_TUNNEL);

	type = form.encapsulation;
	if (type == IPPROTO_MINIMAL && inner.frag_off & htons(FRAGMENT_MASK))
		type = IPPROTO_IPIP; /* TUN-05 */
	if (type == IPPROTO_MINIMAL) {
		/* Behind a NAT the other end cannot tell the source by the header. */
		room = inner.saddr == head.local && !(form.flags & UDP) ? 8 : 12;
	} else {
		room = IPV4;
		if (type == IPPROTO_GRE)
			room += form.flags & SEND_KEY ? 8 : 4;
	}
	if (form.flags & UDP)
		room += sizeof(struct in_udp);
	if (size + room > 0xffff)
		return drop(TOO_BIG);

	if (!head.ifindex) {
		fib.tos = inner.tos & 0x1c;
		fib.ifindex = config->port;
		fib.ipv4_src = head.local;
		fib.ipv4_dst = form.peer;
		fib.tot_len = skb->gso_size ? 0 : size + room;
		error = fib_lookup(skb, &fib, sizeof(fib), 0);
		if (error == BPF_FIB_LKUP_RET_FRAG_NEEDED)
			return drop(SEND_EMSGSIZE);
		if (error && error != BPF_FIB_LKUP_RET_NO_NEIGH)
			return drop(SEND_ENETUNREACH);
	}
	if (type == IPPROTO_MINIMAL)
		error = modify(skb, &inner, head.local, &form, room);
	else
		error = wrap(skb, &inner, head.local, &form, type, room);
	if (error)
		return drop(SEND_ENOBUFS);
	skb->mark &= ~MARK_MASK;
	if (!is_copy) {
		count = get_counters(key);
		if (count) {
			__sync_fetch_and_add(&count->sent_packets, 1);
			__sync_fetch_and_add(&count->sent_bytes, size);
		}
	}
	if (head.ifindex)
		return redirect_neigh(head.ifindex, 0, 0, 0);
	if (fib.family == AF_INET) {
		struct bpf_redir_neigh next = {
			.nh_family = AF_INET,
			.ipv4_nh = fib.ipv4_dst,
		};

		return redirect_neigh(fib.ifindex, &next, sizeof(next), 0);
	}
	return redirect_neigh(fib.ifindex, 0, 0, 0);
}

/* Out of the tunnel */

/*
 * Take a tunnel packet apart without changing it. Returns GOOD, a reason to drop it, or
 * FOR_THE_KERNEL.
 *
 * `reassembled`: the kernel has seen the packet, and user space has verified the
 * checksums of UDP and GRE where there are some.
 */
INLINE int dissect(struct __sk_buff *skb, struct packet *p, int reassembled)
{
	__u32 header, offset, end;
	__u8 first;

	header = p->outer.ihl * 4;
	end = L2 + ntohs(p->outer.tot_len);
	if (header < IPV4 || end < L2 + header)
		return BAD_LENGTH;
	if (end > skb->len)
		return TRUNCATED;
	if (!reassembled && checksum(&p->outer, IPV4))
		return BAD_CHECKSUM;
	offset = L2 + header;
	p->encapsulation = p->outer.protocol;
	if (p->outer.protocol == IPPROTO_UDP) {
		struct in_udp in;

		if (end < offset + sizeof(in) || load_bytes(skb, offset, &in, sizeof(in)))
			return TRUNCATED;
		if (ntohs(in.udp.len) < sizeof(in) || offset + ntohs(in.udp.len) > end)
			return TRUNCATED;
		if (in.udp.check && !reassembled) /* over the whole packet: not here */
			return FOR_THE_KERNEL;
		end = offset + ntohs(in.udp.len);
		offset += sizeof(in);
		p->our_port = in.udp.dest;
		p->peer_port = in.udp.source;
		p->flags |= UDP;
		p->encapsulation = in.data.next_header;
	}
	if (p->encapsulation == IPPROTO_MINIMAL) {
		struct minimal m = {};
		__u32 size = 8;

		if (!p->outer.ttl)
			return TTL_ZERO;
		if (end < offset + 8 || load_bytes(skb, offset, &m, 8))
			return TRUNCATED;
		p->inner = p->outer;
		if (m.flags & SOURCE_PRESENT) {
			size = 12;
			if (end < offset + 12 || load_bytes(skb, offset, &m, 12))
				return TRUNCATED;
			p->inner.saddr = m.saddr;
		}
		if (checksum(&m, sizeof(m)))
			return MINIMAL_CHECKSUM;
		p->strip = offset + size - L2 - header;
		p->inner.protocol = m.protocol;
		p->inner.daddr = m.daddr;
		p->inner.tot_len = htons(end - L2 - p->strip);
		update_checksum(&p->inner, &p->outer);
		return GOOD;
	}
	if (p->encapsulation == IPPROTO_GRE) {
		struct gre gre;
		__u16 flags;

		if (end < offset + 4 || load_bytes(skb, offset, &gre, 4))
			return TRUNCATED;
		flags = ntohs(gre.flags);
		if (flags & GRE_VERSION_BITS)
			return GRE_VERSION;
		if (flags & GRE_UNSUPPORTED)
			return GRE_FLAGS;
		if (gre.protocol != htons(ETH_P_IP))
			return GRE_PROTOCOL;
		offset += 4;
		if (flags & GRE_HAS_CHECKSUM) {
			if (!reassembled) /* likewise */
				return FOR_THE_KERNEL;
			offset += 4;
		}
		if (flags & GRE_HAS_KEY) {
			if (end < offset + 4 || load_bytes(skb, offset, &p->key, 4))
				return TRUNCATED;
			p->flags |= RECEIVE_KEY;
			offset += 4;
		}
		if (end < offset)
			return TRUNCATED;
	} else if (p->encapsulation != IPPROTO_IPIP) {
		return UNKNOWN_PROTOCOL;
	}
	p->strip = offset - L2 - header;
	if (end <= offset || load_bytes(skb, offset, &first, 1))
		return NOT_IPV4;
	if (first >> 4 != 4)
		return NOT_IPV4;
	if (end < offset + IPV4 || load_bytes(skb, offset, &p->inner, IPV4))
		return TRUNCATED;
	if (p->inner.ihl < 5 || ntohs(p->inner.tot_len) < p->inner.ihl * 4)
		return BAD_LENGTH;
	if (offset + ntohs(p->inner.tot_len) > end)
		return TRUNCATED;
	if (!p->inner.ttl)
		return TTL_ZERO;
	return GOOD;
}

/* A fragment in IP-in-IP, where the tunnel is minimal and cannot carry it (TUN-05). */
INLINE int is_detoured_fragment(const struct packet *p, const struct form *form)
{
	return form->encapsulation == IPPROTO_MINIMAL &&
	       p->encapsulation == IPPROTO_IPIP &&
	       p->inner.frag_off & htons(FRAGMENT_MASK);
}

INLINE int is_for_many(const struct config *config, __be32 destination)
{
	return (destination & 0xf0) == 0xe0 || !~destination ||
	       (config->broadcast && destination == config->broadcast);
}

/*
 * Is it what is put around a copy of what is for many, before that enters the tunnel? To
 * a node that does not decapsulate itself (D=0) it comes in that (HA-40, MN-42).
 */
INLINE int is_nest(const struct packet *p, __be32 home)
{
	return p->outer.daddr == home && p->encapsulation == IPPROTO_IPIP &&
	       !(p->flags & UDP);
}

/*
 * Is there a nest in what came out of the tunnel, which is in `skb` now? Those that need
 * more than to be stripped go by the kernel and user space.
 */
INLINE int holds_nest(struct __sk_buff *skb, const struct packet *p,
		      const struct config *config, __be32 home)
{
	struct iphdr many;

	return p->inner.protocol == IPPROTO_IPIP && p->inner.daddr == home &&
	       p->inner.saddr == p->outer.saddr && p->inner.ihl == 5 &&
	       !(p->inner.frag_off & htons(FRAGMENT_MASK)) &&
	       !checksum(&p->inner, IPV4) &&
	       !load_bytes(skb, L2 + IPV4, &many, sizeof(many)) &&
	       is_for_many(config, many.daddr);
}

/* Is it from a registered tunnel? Returns GOOD, or why not (RT-07). */
INLINE int judge(const struct packet *p, const struct config *config, int role,
		 __be32 *home)
{
	__u32 group = 0, known = 0, plain = 0, found = MAX_PEERS;
	int home_agent = role == HOME_AGENT;
	struct binding *binding;
	struct form form;
	struct head head;

	*home = role == HOME_AGENT ? p->inner.saddr : p->inner.daddr;
	binding = map_lookup(&bindings, home);
	if (!binding && role == MOBILE_NODE) {
		group = is_for_many(config, p->inner.daddr);
		if (!group)
			return FORWARD_NO_TUNNEL;
		*home = config->home;
		binding = map_lookup(&bindings, home);
		if (!binding)
			return FORWARD_WRONG_OUTER_SOURCE;
	}
	if (!binding)
		return REVERSE_NO_BINDING;
	head = binding->head;
	for (__u32 i = 0; i < MAX_PEERS; i++) {
		if (i >= head.peers)
			break;
		if (binding->forms[i].peer != p->outer.saddr)
			continue;
		known = 1;
		if (!(binding->forms[i].flags & UDP))
			plain = 1;
		if ((binding->forms[i].flags ^ p->flags) & UDP)
			continue;
		/* Nodes behind one NAT differ in the port. */
		if (p->flags & UDP && (binding->forms[i].our_port != p->our_port ||
				       binding->forms[i].peer_port != p->peer_port))
			continue;
		form = binding->forms[i];
		found = i;
		break;
	}
	if (!known || *(volatile __be32 *)&binding->head.home != *home)
		return home_agent ? REVERSE_WRONG_OUTER_SOURCE : FORWARD_WRONG_OUTER_SOURCE;
	if (group && is_nest(p, *home))
		return GOOD;
	if (home_agent && p->outer.daddr != head.local)
		return REVERSE_WRONG_OUTER_DESTINATION;
	if (found == MAX_PEERS && p->flags & UDP && !plain)
		return home_agent ? REVERSE_WRONG_PORTS : FORWARD_WRONG_PORTS;
	if (found == MAX_PEERS ||
	    (p->encapsulation != form.encapsulation && !is_detoured_fragment(p, &form)))
		return home_agent ? REVERSE_WRONG_ENCAPSULATION : FORWARD_WRONG_ENCAPSULATION;
	if ((p->flags ^ form.flags) & RECEIVE_KEY ||
	    (form.flags & RECEIVE_KEY && p->key != form.receive_key))
		return home_agent ? REVERSE_WRONG_KEY : FORWARD_WRONG_KEY;
	if (role == HOME_AGENT && !(head.flags & REVERSE))
		return REVERSE_NOT_NEGOTIATED;
	return GOOD;
}

/* Let the packet arrive from the port. */
INLINE int into_port(struct __sk_buff *skb, const struct config *config)
{
	if (store_bytes(skb, 0, config->port_mac, ETH_ALEN, 0))
		return drop(SEND_ENOBUFS);
	return redirect(config->port, BPF_F_INGRESS);
}

INLINE void set_mark(struct __sk_buff *skb, __be32 destination)
{
	struct binding *binding = map_lookup(&bindings, &destination);
	__u32 mark = skb->mark & ~MARK_MASK;

	if (binding)
		mark |= binding->head.mark & MARK_MASK;
	if (mark != skb->mark)
		skb->mark = mark;
}

INLINE int decapsulate(struct __sk_buff *skb, const struct config *config, int role,
		       const struct iphdr *outer, int reassembled)
{
	const __u8 from_inside[ETH_ALEN] = {};
	struct packet p = { .outer = *outer };
	__u32 options_size = outer->ihl * 4 - IPV4;
	struct counters *count;
	__u8 options[40];
	__be32 home;
	int verdict;

	if (!reassembled && (options_size || outer->frag_off & htons(FRAGMENT_MASK)))
		return TC_ACT_UNSPEC;
	verdict = dissect(skb, &p, reassembled);
	if (verdict == GOOD)
		verdict = judge(&p, config, role, &home);
	if (verdict == FOR_THE_KERNEL)
		return TC_ACT_UNSPEC;
	if (verdict != GOOD) {
		/* It may be under way to another host. */
		if (!reassembled && !map_lookup(&locals, &outer->daddr))
			return TC_ACT_UNSPEC;
		return drop(verdict);
	}
	if (p.encapsulation == IPPROTO_MINIMAL) {
		if (take_options(skb, options_size, options) ||
		    adjust_room(skb, -(__s32)p.strip, BPF_ADJ_ROOM_NET, 0) ||
		    store_bytes(skb, L2, &p.inner, IPV4, 0) ||
		    put_options(skb, options_size, options))
			return drop(SEND_ENOBUFS);
	} else {
		__s32 size = IPV4 + options_size + p.strip;

		if (adjust_room(skb, -size, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
			return drop(SEND_ENOBUFS);
	}
	count = get_counters(home);
	if (count) {
		__sync_fetch_and_add(&count->received_packets, 1);
		__sync_fetch_and_add(&count->received_bytes, ntohs(p.inner.tot_len));
	}
	if (role == HOME_AGENT)
		set_mark(skb, p.inner.daddr);
	if (skb->mark & MARK_MASK && skb->gso_size) {
		/* From one tunnel into another: merged segments would keep what the kernel
		 * noted about the first, and are taken apart on this way. */
		if (store_bytes(skb, 0, config->port_mac, ETH_ALEN, 0))
			return drop(SEND_ENOBUFS);
		return redirect(config->far, 0);
	}
	if (role == MOBILE_NODE && holds_nest(skb, &p, config, home)) {
		if (store_bytes(skb, 0, from_inside, ETH_ALEN, 0))
			return drop(SEND_ENOBUFS);
		return redirect(config->port, 0); /* and out of that at the far end */
	}
	return into_port(skb, config);
}

/* ARP for bound home addresses */

/* Answer a request with `mac`, where it is for a bound address; 0 if it is not. */
INLINE int answer_arp(struct __sk_buff *skb, const __u8 *mac, __be32 *target)
{
	struct arp arp;
	struct ethhdr eth;
	__u32 sender;

	if (load_bytes(skb, L2, &arp, sizeof(arp)) ||
	    arp.operation != htons(ARPOP_REQUEST) ||
	    arp.hardware != htons(ARPHRD_ETHER) ||
	    arp.protocol != htons(ETH_P_IP))
		return 0;
	__builtin_memcpy(target, arp.target, 4);
	__builtin_memcpy(&sender, arp.sender, 4);
	/* Neither an announcement nor a probe wants an answer (ARP-04, RFC 5227). */
	if (!sender || sender == *target || !map_lookup(&bindings, target))
		return 0;
	arp.operation = htons(ARPOP_REPLY);
	__builtin_memcpy(arp.target_mac, arp.sender_mac, ETH_ALEN);
	__builtin_memcpy(arp.target, arp.sender, 4);
	__builtin_memcpy(arp.sender_mac, mac, ETH_ALEN);
	__builtin_memcpy(arp.sender, target, 4);
	__builtin_memcpy(eth.h_dest, arp.target_mac, ETH_ALEN);
	__builtin_memcpy(eth.h_source, mac, ETH_ALEN);
	eth.h_proto = htons(ETH_P_ARP);
	return !store_bytes(skb, 0, &eth, sizeof(eth), 0) &&
	       !store_bytes(skb, L2, &arp, sizeof(arp), 0);
}

/* The programs */

INLINE int link_in(struct __sk_buff *skb, int role)
{
	struct config *config = get_config();
	struct iphdr ip;
	__be32 target;
	int verdict;

	if (!config || skb->vlan_present)
		return TC_ACT_UNSPEC;
	if (role == HOME_AGENT && skb->protocol == htons(ETH_P_ARP)) {
		if (skb->ifindex == config->home_link &&
		    answer_arp(skb, config->home_mac, &target))
			return redirect(skb->ifindex, 0);
		return TC_ACT_UNSPEC;
	}
	if (skb->protocol != htons(ETH_P_IP) || skb->pkt_type != 0 /* for us */ ||
	    load_bytes(skb, L2, &ip, IPV4) || ip.version != 4)
		return TC_ACT_UNSPEC;
	if (is_tunnel(ip.protocol) ||
	    (ip.protocol == IPPROTO_UDP && is_tunnel_data(skb, L2 + IPV4))) {
		verdict = decapsulate(skb, config, role, &ip, 0);
		if (verdict != TC_ACT_UNSPEC)
			return verdict;
	}
	if (role == HOME_AGENT)
		set_mark(skb, ip.daddr);
	return TC_ACT_UNSPEC;
}

SEC("ha_link_in") int home_agent_link_in(struct __sk_buff *skb)
{
	return link_in(skb, HOME_AGENT);
}

SEC("mn_link_in") int mobile_node_link_in(struct __sk_buff *skb)
{
	return link_in(skb, MOBILE_NODE);
}

SEC("ha_link_out") int home_agent_link_out(struct __sk_buff *skb)
{
	struct config *config = get_config();
	struct binding *binding;
	struct counters *count;
	struct ethhdr eth;
	struct iphdr ip;
	__be32 target;

	if (!config || skb->vlan_present)
		return TC_ACT_UNSPEC;
	if (skb->protocol == htons(ETH_P_ARP)) {
		if (load_bytes(skb, 0, &eth, sizeof(eth)) ||
		    !answer_arp(skb, eth.h_source, &target))
			return TC_ACT_UNSPEC;
		count = get_counters(target);
		if (count)
			count->host_asked = skb->ifindex;
		return redirect(skb->ifindex, BPF_F_INGRESS);
	}
	if (skb->protocol != htons(ETH_P_IP) || load_bytes(skb, L2, &ip, IPV4))
		return TC_ACT_UNSPEC;
	binding = map_lookup(&bindings, &ip.daddr);
	if (!binding)
		return TC_ACT_UNSPEC;
	if (skb->mark & MARK_MASK)
		return drop(PORT_NO_ROUTE);
	skb->mark |= binding->head.mark & MARK_MASK;
	if (ip.ttl < 255) { /* the kernel will take one for the way to the port */
		struct iphdr now = ip;

		now.ttl++;
		update_checksum(&now, &ip);
		if (store_bytes(skb, L2, &now, IPV4, 0))
			return drop(SEND_ENOBUFS);
	}
	return into_port(skb, config);
}

INLINE int port(struct __sk_buff *skb, int role)
{
	struct config *config = get_config();
	struct iphdr outer;
	struct ethhdr eth;

	if (!config || skb->protocol != htons(ETH_P_IP) ||
	    load_bytes(skb, 0, &eth, sizeof(eth)))
		return TC_ACT_SHOT;
	/* The kernel writes an address there. A copy has its number, */
	if (!eth.h_dest[0] && !eth.h_dest[1] && eth.h_dest[4] == 1)
		return encapsulate(skb, config, role, eth.h_dest[5], 1);
	/* and what is to be taken out of a tunnel has none. */
	if (!eth.h_dest[0] && !eth.h_dest[1]) {
		if (load_bytes(skb, L2, &outer, IPV4) || outer.ihl < 5)
			return drop(TRUNCATED);
		return decapsulate(skb, config, role, &outer, 1);
	}
	/* redirect_neigh() drops frames for many, although what leaves here is for one. */
	if (eth.h_dest[0] & 1 && store_bytes(skb, 0, config->port_mac, ETH_ALEN, 0))
		return drop(SEND_ENOBUFS);
	return encapsulate(skb, config, role, 0, 0);
}

SEC("ha_port") int home_agent_port(struct __sk_buff *skb)
{
	return port(skb, HOME_AGENT);
}

SEC("mn_port") int mobile_node_port(struct __sk_buff *skb)
{
	return port(skb, MOBILE_NODE);
}

/*
 * No map command takes entries out of two maps by their keys, nor many of them where some
 * may be missing: a node has counters only after its first packet.
 */
SEC("ha_forget") int forget(struct __sk_buff *skb)
{
	struct forgotten one;
	struct counters *count;
	__u32 offset = L2;

#pragma clang loop unroll(disable)
	for (int i = 0; i < MAX_FORGOTTEN; i++) {
		if (load_bytes(skb, offset, &one, sizeof(one)))
			break; /* that was the last */
		map_delete(&bindings, &one.home);
		count = map_lookup(&counters, &one.home);
		one.host_asked = count ? count->host_asked : 0;
		map_delete(&counters, &one.home);
		store_bytes(skb, offset, &one, sizeof(one), 0);
		offset += sizeof(one);
	}
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "GPL";
