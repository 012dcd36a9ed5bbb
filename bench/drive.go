package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is what senders do: until length has passed, or so many spans were sent,
// where either is not 0.
type load struct {
	length         time.Duration
	spans          int64
	senders, batch int
	// send makes the k-th batch of a sender durable.
	send func(sender, k int, t *template)
	// used says what the system under load has used of the processors, and its
	// memory.
	used func() (cpu time.Duration, rss int64)
}

// run sends batches that are made beforehand and freshened each time.
func (l load) run() result {
	var n atomic.Int64
	var mu sync.Mutex
	var waits []time.Duration
	var wg, made sync.WaitGroup
	begin := make(chan struct{})
	for i := range l.senders {
		made.Add(1)
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i)))
			var templates []*template
			for range 4 {
				templates = append(templates, newTemplate(rng, l.batch))
			}
			made.Done()
			<-begin
			var own []time.Duration
			start := time.Now()
			for k := 0; (l.length == 0 || time.Since(start) < l.length) && (l.spans == 0 || n.Load() < l.spans); k++ {
				t := templates[k%len(templates)]
				t.freshen(rng)
				at := time.Now()
				l.send(i, k, t)
				own = append(own, time.Since(at))
				n.Add(int64(l.batch))
			}
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, own...)
		})
	}
	made.Wait()
	before, _ := l.used()
	cpu, start := cpuTime(), time.Now()
	close(begin)
	wg.Wait()
	took := time.Since(start).Seconds()
	after, rss := l.used()
	slices.Sort(waits)
	ms := func(q float64) float64 { return float64(waits[int(float64(len(waits)-1)*q)].Microseconds()) / 1000 }
	per := func(d time.Duration) float64 { return d.Seconds() / float64(n.Load()) * 1e5 }
	return result{
		Clients: l.senders, Batch: l.batch, Records: n.Load(), PerSec: float64(n.Load()) / took, P50: ms(0.5), P99: ms(0.99),
		CPU: per(cpuTime() - cpu + after - before), ServerCPU: per(after - before), RSS: rss >> 20,
	}
}

// drive sends batches to the servers in turn, for the tenants in turn, as exporters
// do: a refused request is sent again.
func (f *fleet) drive(length time.Duration, spans int64, senders, batch int) result {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders, DisableCompression: true}}
	r := load{length: length, spans: spans, senders: senders, batch: batch, used: f.used, send: func(i, k int, t *template) {
		f.post(client, t.body, i, i+k)
	}}.run()
	r.What = "otlp"
	return r
}

// post sends to one of the servers, with one of the keys.
func (f *fleet) post(client *http.Client, body []byte, server, key int) {
	for {
		req, err := http.NewRequest(http.MethodPost, f.servers[server%len(f.servers)].url+"/v1/traces", bytes.NewReader(body))
		check(err)
		req.Header.Set("Content-Type", "application/x-protobuf")
		req.Header.Set("Authorization", "Bearer "+f.keys[key%len(f.keys)])
		resp, err := client.Do(req)
		check(err)
		answer, err := io.ReadAll(resp.Body)
		check(err)
		check(resp.Body.Close())
		switch {
		case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable:
			f.refused.Add(1)
			time.Sleep(5 * time.Millisecond)
			continue
		case resp.StatusCode != http.StatusOK || len(answer) > 0:
			check(fmt.Errorf("%s: %q", resp.Status, answer))
		}
		return
	}
}

// paced sends batches of 100 spans, about two thousand a second, until stop.
func (f *fleet) paced(stop chan struct{}) {
	rng := rand.New(rand.NewPCG(1, 2))
	t := newTemplate(rng, 100)
	client := &http.Client{}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			t.freshen(rng)
			f.post(client, t.body, 0, 0)
		}
	}
}
