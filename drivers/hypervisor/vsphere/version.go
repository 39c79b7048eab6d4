// This file agrees on a version of the API: an ESXi refuses one that it does not know.

package vsphere

import (
	"context"
	"encoding/xml"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
)

// negotiate chooses the newest version that both sides know.
func (a *api) negotiate(ctx context.Context, c *soap.Client) error {
	a.mu.Lock()
	version := a.version
	a.mu.Unlock()
	if version == "" {
		u := *a.url
		u.Path = "/sdk/vimServiceVersions.xml"
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return err
		}
		res, err := c.Client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		version = vim25.Version
		if res.StatusCode == http.StatusOK {
			if version, err = bestVersion(io.LimitReader(res.Body, 1<<20)); err != nil {
				return err
			}
		}
		a.mu.Lock()
		a.version = version
		a.mu.Unlock()
	}
	c.Version = version
	return nil
}

// bestVersion reads vimServiceVersions.xml.
func bestVersion(r io.Reader) (string, error) {
	var doc struct {
		Namespace []struct {
			Name    string   `xml:"name"`
			Version string   `xml:"version"`
			Prior   []string `xml:"priorVersions>version"`
		} `xml:"namespace"`
	}
	if err := xml.NewDecoder(r).Decode(&doc); err != nil {
		return "", err
	}
	best := ""
	for _, ns := range doc.Namespace {
		if ns.Name != "urn:vim25" {
			continue
		}
		for _, v := range append(ns.Prior, ns.Version) {
			if !older(vim25.Version, v) && (best == "" || older(best, v)) {
				best = v
			}
		}
		if best == "" {
			best = ns.Version
		}
	}
	if best == "" {
		best = vim25.Version
	}
	return best, nil
}

// older compares dotted versions.
func older(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		var m, n int
		if i < len(x) {
			m, _ = strconv.Atoi(x[i])
		}
		if i < len(y) {
			n, _ = strconv.Atoi(y[i])
		}
		if m != n {
			return m < n
		}
	}
	return false
}
